package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/gofiber/fiber/v2"

	"hangar/shared/control"
)

// scopeMetrics in a token's scope opens /metrics.
const scopeMetrics = "Metrics"

// bearer returns the token of a request, "" when there is none.
func bearer(c *fiber.Ctx) string {
	scheme, token, _ := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func equalToken(given string, want [32]byte) bool {
	sum := sha256.Sum256([]byte(given))
	return given != "" && subtle.ConstantTimeCompare(sum[:], want[:]) == 1
}

// admit lets in whoever holds the configured token, or a token of the control
// state that has the operation in its scope and has not expired. It returns the
// latter.
func (s *Server) admit(c *fiber.Ctx, operation string) (*control.Token, error) {
	secret := bearer(c)
	if equalToken(secret, s.adminToken) {
		return nil, nil
	}
	if t := s.ops.View().Authenticate(secret, s.ops.Now()); t != nil && t.Allows(operation) {
		return t, nil
	}
	return nil, accessDenied
}

func (s *Server) guardMetrics(c *fiber.Ctx) error {
	if s.metricsToken == nil || equalToken(bearer(c), *s.metricsToken) {
		return c.Next()
	}
	if _, err := s.admit(c, scopeMetrics); err != nil {
		return err
	}
	return c.Next()
}
