package cli

// MethodOf is methodOf for tests from outside.
var MethodOf = methodOf
