package objects

import (
	"encoding/hex"
	"strconv"
	"strings"

	"hangar/shared/record"
)

// algorithms are the checksum algorithms in the order of their stored numbers.
var algorithms = [...]ChecksumAlgorithm{
	record.NoChecksum: "",
	record.CRC32:      CRC32,
	record.CRC32C:     CRC32C,
	record.CRC64NVME:  CRC64NVME,
	record.SHA1:       SHA1,
	record.SHA256:     SHA256,
}

// stored is the stored number of a.
func (a ChecksumAlgorithm) stored() (record.Algorithm, error) {
	for n, name := range algorithms {
		if name == a {
			return record.Algorithm(n), nil
		}
	}
	return 0, invalid("unknown checksum algorithm %q", string(a))
}

// storedChecksum checks c's shape and returns its stored form.
func storedChecksum(c Checksum) (record.Algorithm, error) {
	a, err := c.Algorithm.stored()
	if err == nil && len(c.Value) != a.Bytes() {
		err = invalid("%s checksum of %d bytes", c.Algorithm, len(c.Value))
	}
	return a, err
}

// etag is the ETag of content with that MD5, or of that many parts.
func etag(md5 [16]byte, parts int) string {
	var b [32 + 6]byte
	hex.Encode(b[:], md5[:])
	if parts == 0 {
		return string(b[:32])
	}
	return string(strconv.AppendInt(append(b[:32:len(b)], '-'), int64(parts), 10))
}

// bareETag takes quotes off an ETag.
func bareETag(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }

// headInfo is what a listing says of an object.
func headInfo(at Location, h record.ObjectHead) Info {
	info := Info{
		Location:  at,
		Version:   h.Version,
		Size:      h.Size,
		Modified:  h.Modified,
		ETag:      etag(h.MD5, h.Parts),
		Checksum:  Checksum{Algorithm: algorithms[h.Checksum], Composite: h.Composite},
		PartCount: h.Parts,
		Length:    h.Size,
	}
	if h.Composite {
		info.Checksum.Parts = h.Parts
	}
	info.Metadata.StorageClass = h.StorageClass
	return info
}

// fullInfo is all that is known of an object.
func fullInfo(at Location, h record.ObjectHead, b record.ObjectBody) Info {
	info := headInfo(at, h)
	info.Metadata = Metadata(b.Metadata)
	info.Checksum.Value = b.Checksum
	return info
}

func partInfo(number int, h record.PartHead) PartInfo {
	return PartInfo{
		Number:   number,
		Size:     h.Manifest.Size,
		ETag:     etag(h.MD5, 0),
		Modified: h.Modified,
		Checksum: Checksum{Algorithm: algorithms[h.Checksum], Value: h.Digest},
	}
}
