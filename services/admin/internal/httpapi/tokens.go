package httpapi

import (
	"slices"
	"strings"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
	"hangar/shared/control"
)

// scopeWords are what a scope may name besides the operations under /v2/.
var scopeWords = []string{"*", scopeMetrics, "Health", "CheckDomain"}

// parseTokenChange knows the operations that a scope may name.
func parseTokenChange(c call, t wire.TokenChange) (change ops.TokenChange, _ error) {
	change = ops.TokenChange{Name: t.Name, Expiration: t.Expiration, NeverExpires: t.NeverExpires, Scope: t.Scope}
	if t.Scope == nil {
		return change, nil
	}
	for _, name := range *t.Scope {
		if !c.s.names[name] && !slices.Contains(scopeWords, name) {
			return change, invalid("scope: there is no operation with this name: " + name)
		}
	}
	return change, nil
}

// The tokens of the configuration.
var (
	configuredAdmin   = wire.TokenInfo{Name: "admin token (from the configuration)", Scope: []string{"*"}}
	configuredMetrics = wire.TokenInfo{Name: "metrics token (from the configuration)", Scope: []string{scopeMetrics}}
)

func listAdminTokens(c call) ([]wire.TokenInfo, error) {
	out := []wire.TokenInfo{configuredAdmin}
	if c.s.metricsToken != nil {
		out = append(out, configuredMetrics)
	}
	for _, t := range c.s.ops.View().Tokens() {
		out = append(out, wire.DescribeToken(t, c.s.ops.Now()))
	}
	return out, nil
}

func getAdminTokenInfo(c call) (info wire.TokenInfo, err error) {
	by, value, err := one(c, "id", "search")
	if err != nil {
		return info, err
	}
	v := c.s.ops.View()
	t := v.Token(value)
	if by == "search" {
		if t, err = findToken(v, value); err != nil {
			return info, err
		}
	}
	if t == nil {
		return info, control.NoSuchToken(value)
	}
	return wire.DescribeToken(t, c.s.ops.Now()), nil
}

// findToken finds the one token whose id begins with pattern, or whose name
// has it.
func findToken(v *control.View, pattern string) (found *control.Token, err error) {
	for _, t := range v.Tokens() {
		if !strings.HasPrefix(t.ID, pattern) && !strings.Contains(strings.ToLower(t.Name), strings.ToLower(pattern)) {
			continue
		}
		if found != nil {
			return nil, invalid("several admin tokens match " + pattern)
		}
		found = t
	}
	return found, nil
}

func getCurrentAdminTokenInfo(c call) (wire.TokenInfo, error) {
	if c.token == nil {
		return configuredAdmin, nil
	}
	return wire.DescribeToken(c.token, c.s.ops.Now()), nil
}

func createAdminToken(c call, in wire.TokenChange) (made wire.NewToken, err error) {
	change, err := parseTokenChange(c, in)
	if err != nil {
		return made, err
	}
	secret, t, receipt, err := c.s.ops.CreateToken(c.ctx, c.token, change)
	if err != nil {
		return made, err
	}
	c.applied(receipt)
	return wire.NewToken{TokenInfo: wire.DescribeToken(t, c.s.ops.Now()), SecretToken: secret}, nil
}

func updateAdminToken(c call, in wire.TokenChange) (info wire.TokenInfo, err error) {
	change, err := parseTokenChange(c, in)
	if err != nil {
		return info, err
	}
	t, receipt, err := c.s.ops.UpdateToken(c.ctx, c.token, c.Query("id"), change)
	if err != nil {
		return info, err
	}
	c.applied(receipt)
	return wire.DescribeToken(t, c.s.ops.Now()), nil
}

func deleteAdminToken(c call, _ nothing) (nothing, error) {
	receipt, err := c.s.ops.DeleteToken(c.ctx, c.Query("id"))
	if err == nil {
		c.applied(receipt)
	}
	return nothing{}, err
}
