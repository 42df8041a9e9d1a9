package wire

import (
	"time"

	"hangar/shared/control"
)

// TokenInfo describes an admin token; those of the configuration have no id.
type TokenInfo struct {
	ID         *string    `json:"id"`
	Created    *time.Time `json:"created"`
	Name       string     `json:"name"`
	Expiration *time.Time `json:"expiration"`
	Expired    bool       `json:"expired"`
	Scope      []string   `json:"scope"`
}

// NewToken is the answer of CreateAdminToken.
type NewToken struct {
	TokenInfo
	// SecretToken is answered this once.
	SecretToken string `json:"secretToken"`
}

// TokenChange is the body of CreateAdminToken and UpdateAdminToken.
type TokenChange struct {
	Name         *string    `json:"name,omitempty"`
	Expiration   *time.Time `json:"expiration,omitempty"`
	NeverExpires bool       `json:"neverExpires,omitempty"`
	Scope        *[]string  `json:"scope,omitempty"`
}

// DescribeToken writes a token as it is at now.
func DescribeToken(t *control.Token, now time.Time) TokenInfo {
	return TokenInfo{&t.ID, &t.Created, t.Name, t.Expiration, t.Expired(now), NonNil(t.Scope)}
}
