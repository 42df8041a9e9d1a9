// Package badgerkv keeps a kv.Store in a directory, in Badger. It is the only
// package that knows Badger.
package badgerkv
