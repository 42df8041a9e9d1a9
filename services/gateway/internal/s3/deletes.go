package s3

import (
	"log/slog"
	"net/http"
	"sync"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/object"
)

// deleteWorkers is how many deletions of one request are under way at once.
const deleteWorkers = 16

// deleteDocument is the body of DeleteObjects.
type deleteDocument struct {
	XMLName struct{} `xml:"Delete"`
	Quiet   bool
	Objects []deleteEntry `xml:"Object"`
}

type deleteEntry struct {
	Key              string
	VersionID        string `xml:"VersionId"`
	ETag             string
	Size             string
	LastModifiedTime string
}

func (a *API) deleteObjects(c *call) (*httpd.Response, error) {
	body, err := c.body(maxLongXMLBytes)
	if err != nil {
		return nil, err
	}
	var doc deleteDocument
	if err := readXML(body, maxLongXMLBytes, &doc); err != nil {
		return nil, err
	}
	if len(doc.Objects) == 0 || len(doc.Objects) > maxPage {
		return nil, fail(malformedXML, "")
	}
	failed := a.deleteAll(c, doc.Objects)
	x := newXML()
	x.root("DeleteResult")
	for i, o := range doc.Objects {
		if e := failed[i]; e != nil {
			x.open("Error")
			x.el("Key", o.Key)
			x.opt("VersionId", o.VersionID)
			x.el("Code", e.name)
			x.el("Message", e.text())
			x.close("Error")
		} else if !doc.Quiet {
			x.open("Deleted")
			x.el("Key", o.Key)
			x.opt("VersionId", o.VersionID)
			x.close("Deleted")
		}
	}
	x.close("DeleteResult")
	return x.respond(c), nil
}

// deleteAll deletes each entry, a bounded number at once, and returns what
// failed at its index.
func (a *API) deleteAll(c *call, entries []deleteEntry) []*apiError {
	failed := make([]*apiError, len(entries))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(deleteWorkers, len(entries)) {
		workers.Go(func() {
			for i := range next {
				failed[i] = a.deleteOne(c, entries[i])
			}
		})
	}
	for i := range entries {
		next <- i
	}
	close(next)
	workers.Wait()
	return failed
}

func (a *API) deleteOne(c *call, o deleteEntry) *apiError {
	switch {
	case o.Key == "":
		return &apiError{code: malformedXML}
	case len(o.Key) > object.MaxKeyBytes:
		return &apiError{code: keyTooLong}
	case o.VersionID != "" && o.VersionID != "null":
		return &apiError{code: noSuchVersion}
	case o.Size != "" || o.LastModifiedTime != "":
		return &apiError{code: notImplemented}
	}
	at := objects.Location{Bucket: c.bucket.ID, Key: o.Key}
	err := a.Store.Delete(c.ctx, at, objects.WriteConditions{IfMatch: unquote(o.ETag)})
	if err == nil {
		return nil
	}
	e := describe(err)
	if e.status >= http.StatusInternalServerError {
		a.Log.LogAttrs(c.ctx, slog.LevelError, "deletion failed",
			slog.String("request", c.req.ID), slog.String("code", e.name), slog.Any("error", err))
	}
	return e
}
