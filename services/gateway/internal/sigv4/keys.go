package sigv4

import (
	"strings"
	"sync"

	"hangar/shared/fault"
)

// signingKey finds the key to check c with. For a key id that does not exist
// it is a key that nobody has, so that as much work is done as for others.
func (v *Verifier) signingKey(c *claim) (key signingKey, known bool, err error) {
	secret, err := v.Secret(c.keyID)
	if fault.Is(err, fault.NotFound) || err == nil && secret == "" {
		return signingKey{}, false, nil
	}
	if err != nil {
		return signingKey{}, false, fault.Wrap(fault.KindOf(err), err, "looking up the access key")
	}
	return v.keys.get(c.keyID, secret, c.date, v.Region, v.Service), true, nil
}

// maxCachedKeys bounds the cache of signing keys. Only keys that exist get
// there, each once per day of its requests.
const maxCachedKeys = 4096

// keyCache remembers signing keys, which cost four HMACs to derive and are
// the same all day.
type keyCache struct {
	mu   sync.RWMutex
	keys map[cacheKey]cachedKey // guarded by mu
}

type cacheKey struct{ keyID, date string }

type cachedKey struct {
	secret string // it was derived from; it may have been replaced since
	key    signingKey
}

func (k *keyCache) get(keyID, secret, date, region, service string) signingKey {
	k.mu.RLock()
	cached, ok := k.keys[cacheKey{keyID, date}]
	k.mu.RUnlock()
	if ok && cached.secret == secret {
		return cached.key
	}
	key := deriveKey(secret, date, region, service)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) >= maxCachedKeys {
		for old := range k.keys { // any one
			delete(k.keys, old)
			break
		}
	}
	if k.keys == nil {
		k.keys = make(map[cacheKey]cachedKey)
	}
	k.keys[cacheKey{strings.Clone(keyID), strings.Clone(date)}] = cachedKey{strings.Clone(secret), key}
	return key
}
