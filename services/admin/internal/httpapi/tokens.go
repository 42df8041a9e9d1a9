package httpapi

import (
	"slices"
	"strings"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
)

// tokenInfo describes an admin token; those of the configuration have no id.
type tokenInfo struct {
	ID         *string    `json:"id"`
	Created    *time.Time `json:"created"`
	Name       string     `json:"name"`
	Expiration *time.Time `json:"expiration"`
	Expired    bool       `json:"expired"`
	Scope      []string   `json:"scope"`
}

type newToken struct {
	tokenInfo
	// SecretToken is answered this once.
	SecretToken string `json:"secretToken"`
}

// tokenChange is the body of CreateAdminToken and UpdateAdminToken.
type tokenChange struct {
	Name         *string    `json:"name,omitempty"`
	Expiration   *time.Time `json:"expiration,omitempty"`
	NeverExpires bool       `json:"neverExpires,omitempty"`
	Scope        *[]string  `json:"scope,omitempty"`
}

// scopeWords are what a scope may name besides the operations under /v2/.
var scopeWords = []string{"*", scopeMetrics, "Health", "CheckDomain"}

func (t tokenChange) change(c call) (change ops.TokenChange, _ error) {
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

func describeToken(t *control.Token, now time.Time) tokenInfo {
	return tokenInfo{&t.ID, &t.Created, t.Name, t.Expiration, t.Expired(now), nonNil(t.Scope)}
}

// The tokens of the configuration.
var (
	configuredAdmin   = tokenInfo{Name: "admin token (from the configuration)", Scope: []string{"*"}}
	configuredMetrics = tokenInfo{Name: "metrics token (from the configuration)", Scope: []string{scopeMetrics}}
)

func listAdminTokens(c call) ([]tokenInfo, error) {
	out := []tokenInfo{configuredAdmin}
	if c.s.metricsToken != nil {
		out = append(out, configuredMetrics)
	}
	for _, t := range c.s.ops.View().Tokens() {
		out = append(out, describeToken(t, c.s.ops.Now()))
	}
	return out, nil
}

func getAdminTokenInfo(c call) (info tokenInfo, err error) {
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
	return describeToken(t, c.s.ops.Now()), nil
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

func getCurrentAdminTokenInfo(c call) (tokenInfo, error) {
	if c.token == nil {
		return configuredAdmin, nil
	}
	return describeToken(c.token, c.s.ops.Now()), nil
}

func createAdminToken(c call, in tokenChange) (made newToken, err error) {
	change, err := in.change(c)
	if err != nil {
		return made, err
	}
	secret, t, receipt, err := c.s.ops.CreateToken(c.ctx, c.token, change)
	if err != nil {
		return made, err
	}
	c.applied(receipt)
	return newToken{describeToken(t, c.s.ops.Now()), secret}, nil
}

func updateAdminToken(c call, in tokenChange) (info tokenInfo, err error) {
	change, err := in.change(c)
	if err != nil {
		return info, err
	}
	t, receipt, err := c.s.ops.UpdateToken(c.ctx, c.token, c.Query("id"), change)
	if err != nil {
		return info, err
	}
	c.applied(receipt)
	return describeToken(t, c.s.ops.Now()), nil
}

func deleteAdminToken(c call, _ nothing) (nothing, error) {
	receipt, err := c.s.ops.DeleteToken(c.ctx, c.Query("id"))
	if err == nil {
		c.applied(receipt)
	}
	return nothing{}, err
}
