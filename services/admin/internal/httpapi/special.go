package httpapi

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"hangar/shared/control"
)

// maxDomain is how long a host name may be.
const maxDomain = 253

// checkDomain tells proxies, which have no token, whether to fetch a
// certificate for a name: when a bucket is served under it as a site, or
// through the S3 API. It tells nothing else of the bucket.
func (s *Server) checkDomain(c *fiber.Ctx) error {
	domain := strings.TrimSuffix(strings.ToLower(c.Query("domain")), ".")
	if domain == "" || len(domain) > maxDomain {
		return invalid("give a domain")
	}
	c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	if !s.servesDomain(s.ops.View(), domain) {
		return c.Status(http.StatusBadRequest).SendString("No bucket is served under this domain.\n")
	}
	return c.SendString("A bucket is served under this domain.\n")
}

func (s *Server) servesDomain(v *control.View, domain string) bool {
	if root := "." + strings.TrimPrefix(s.s3Root, "."); root != "." {
		if name, ok := strings.CutSuffix(domain, root); ok {
			return v.Alias(name) != nil
		}
	}
	b := v.Alias(domain)
	return b != nil && b.Website != nil
}
