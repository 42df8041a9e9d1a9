package s3

import (
	"strings"

	"hangar/services/gateway/internal/checksum"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
)

// The two types of a checksum of an object uploaded in parts.
const (
	composite  = "COMPOSITE"
	fullObject = "FULL_OBJECT"
)

func sumType(s objects.Checksum) string {
	if s.Composite {
		return composite
	}
	return fullObject
}

// sumText is the text form of a checksum.
func sumText(s objects.Checksum) string {
	if s.Composite {
		return checksum.FormatComposite(s.Value, s.Parts)
	}
	return checksum.Encode(s.Value)
}

// present reports whether there is a value to tell.
func present(s objects.Checksum) bool { return s.Algorithm != "" && len(s.Value) > 0 }

// setSum tells a checksum in the headers of an answer. withType is false for
// the checksum of a single part, which has no type.
func setSum(resp *httpd.Response, s objects.Checksum, withType bool) {
	if !present(s) {
		return
	}
	resp.Set(checksum.Algorithm(s.Algorithm).Header(), sumText(s))
	if withType {
		resp.Set(hdrSumType, sumType(s))
	}
}

// elSum writes a checksum as an element.
func (x *document) elSum(s objects.Checksum, withType bool) {
	if !present(s) {
		return
	}
	x.el("Checksum"+string(s.Algorithm), sumText(s))
	if withType {
		x.el("ChecksumType", sumType(s))
	}
}

// algorithm reads the name of a checksum algorithm; "" means none.
func algorithm(name string) (objects.ChecksumAlgorithm, error) {
	if name == "" {
		return "", nil
	}
	a, ok := checksum.Parse(name)
	if !ok {
		return "", fail(invalidRequest, "The checksum algorithm %q is not one of CRC32, CRC32C, CRC64NVME, SHA1, SHA256.", name)
	}
	return objects.ChecksumAlgorithm(a), nil
}

// uploadChecksum reads which checksum an upload in parts shall have.
func (c *call) uploadChecksum() (a objects.ChecksumAlgorithm, full bool, err error) {
	if a, err = algorithm(c.header(hdrAlgorithm)); err != nil {
		return "", false, err
	}
	sums := checksum.Algorithm(a)
	switch kind := c.header(hdrSumType); {
	case a == "" && kind != "":
		return "", false, fail(invalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case kind == "":
		return a, a == objects.CRC64NVME, nil
	case strings.EqualFold(kind, fullObject):
		if !sums.Combines() {
			return "", false, fail(invalidRequest, "The FULL_OBJECT checksum type cannot be used with the %s algorithm.", a)
		}
		return a, true, nil
	case strings.EqualFold(kind, composite):
		if a == objects.CRC64NVME {
			return "", false, fail(invalidRequest, "The COMPOSITE checksum type cannot be used with the CRC64NVME algorithm.")
		}
		return a, false, nil
	}
	return "", false, fail(invalidRequest, "Value for x-amz-checksum-type header is invalid.")
}

// statedSum reads the checksum of the whole that a CompleteMultipartUpload
// states in its headers. Its body is not what they are about.
func (c *call) statedSum() (objects.Checksum, error) {
	var sum objects.Checksum
	for _, a := range checksum.Algorithms {
		text := c.header(a.Header())
		if text == "" {
			continue
		}
		if sum.Algorithm != "" {
			return sum, fail(invalidRequest, "Expecting a single x-amz-checksum- header.")
		}
		value, parts, err := checksum.ParseComposite(a, text)
		if err != nil {
			return sum, fail(invalidRequest, "Value for %s header is invalid.", a.Header())
		}
		kind := c.header(hdrSumType)
		sum = objects.Checksum{
			Algorithm: objects.ChecksumAlgorithm(a), Value: value, Parts: parts,
			Composite: parts > 0 || kind == composite || kind == "" && !a.Combines(),
		}
	}
	return sum, nil
}
