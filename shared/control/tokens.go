package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"

	"hangar/shared/fault"
)

// maxScope bounds how many operations a token's scope names.
const maxScope = 256

func validScope(scope []string) error {
	if len(scope) > maxScope {
		return fault.New(fault.Invalid, "a token's scope names at most %d operations", maxScope)
	}
	for _, operation := range scope {
		if err := validLabel("an operation in a token's scope", operation); err != nil {
			return err
		}
	}
	return nil
}

// NoSuchToken is the error for an admin token that does not exist.
func NoSuchToken(id string) error { return fault.Wrap(fault.NotFound, ErrNoSuchToken, "%q", id) }

// CreateToken makes an admin token. The secret is "<id>.<random>"; it is
// returned here and kept nowhere.
func (s *Store) CreateToken(ctx context.Context, t Token) (secret string, made *Token, rev Revision, err error) {
	if err := validLabel("a token's name", t.Name); err != nil {
		return "", nil, 0, err
	}
	if err := validScope(t.Scope); err != nil {
		return "", nil, 0, err
	}
	t.ID = randomHex(12)
	random := NewSecret()
	t.Hash = sha256.Sum256([]byte(random))
	t.Created = time.Now().UTC()
	rev, err = create(ctx, s, keyOfToken(t.ID), &t)
	return t.ID + "." + random, &t, rev, err
}

// DeleteToken removes an admin token.
func (s *Store) DeleteToken(ctx context.Context, id string) (Revision, error) {
	if validRecordKey(keyOfToken(id)) != nil {
		return 0, NoSuchToken(id)
	}
	for {
		t, rev, err := load[Token](ctx, s, keyOfToken(id))
		if err != nil {
			return 0, err
		}
		if t == nil {
			return 0, NoSuchToken(id)
		}
		if rev, err = s.remove(ctx, keyOfToken(id), rev); !fault.Is(err, fault.Conflict) {
			return rev, err
		}
	}
}

// UpdateToken applies change to an admin token. Its id, hash and creation time
// are not change's to touch.
func (s *Store) UpdateToken(ctx context.Context, id string, change func(*Token) error) (*Token, Revision, error) {
	if validRecordKey(keyOfToken(id)) != nil {
		return nil, 0, NoSuchToken(id)
	}
	return modify(ctx, s, keyOfToken(id), NoSuchToken(id), func(t *Token) error {
		if err := change(t); err != nil {
			return err
		}
		if err := validLabel("a token's name", t.Name); err != nil {
			return err
		}
		return validScope(t.Scope)
	})
}

// Authenticate returns the admin token that secret belongs to, nil when there
// is none or it has expired. The comparison takes constant time.
func (v *View) Authenticate(secret string, now time.Time) *Token {
	id, random, ok := strings.Cut(secret, ".")
	t := v.tokens[id]
	if !ok || t == nil || t.Expired(now) {
		return nil
	}
	sum := sha256.Sum256([]byte(random))
	if subtle.ConstantTimeCompare(sum[:], t.Hash[:]) != 1 {
		return nil
	}
	return t
}
