// Package broker says who may say what on NATS: one table of users, from which
// come the permissions that NATS servers enforce, the credentials, and the page
// that explains them.
package broker

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"time"

	"hangar/shared/control"
)

// Services are those that have a user of their own, in order.
var Services = []string{"gateway", "meta", "blocks", "admin"}

// Rule allows subjects (patterns) for a reason.
type Rule struct {
	Subjects []string
	Why      string
}

// User is what the processes of one service may do.
type User struct {
	Name string
	// Inbox is the prefix of the subjects that this user's answers arrive on. No
	// other user may listen there.
	Inbox string
	// Publish are the subjects that it may send to on its own. Besides, it may
	// answer each request that reached it, once.
	Publish []Rule
	// Subscribe are the subjects that it may listen on.
	Subscribe []Rule
}

// Users is the table.
func Users() []User {
	users := []User{
		{Name: "gateway", Publish: []Rule{
			{of("meta.p", "row", "rows"), "read and write rows"},
			{of("gateway.p", "changed"), "tell other gateways that items have been written"},
			{of("meta.n", "scan", "index"), "list"},
			{slices.Concat(of("blocks.p", "put", "ref"), of("blocks.n", "put", "get", "ref")), "write, read and refer to blocks"},
			{[]string{"hangar.blocks.all.release"}, "hint that blocks have lost their owner"},
			{[]string{"hangar.admin.any.create-bucket", "hangar.admin.any.delete-bucket"}, "pass on what S3 clients ask for"},
		}, Subscribe: []Rule{{of("gateway.p", "changed"), "hear that items have been written"}}},
		{Name: "meta", Publish: []Rule{
			{of("meta.p", "row"), "finish and carry over rows"},
			{of("meta.n", "scan", "inventory", "digests", "states", "forget"), "compare with other members"},
		}, Subscribe: []Rule{{serves("meta", "p", "n"), "serve rows, peers and operators"}}},
		{Name: "blocks", Publish: []Rule{
			{of("blocks.n", "get", "list", "digests", "confirm"), "fetch from and compare with other members"},
			{[]string{"hangar.blocks.all.release"}, "hint that blocks have lost their owner"},
			{of("meta.p", "row"), "ask whether owners live"},
		}, Subscribe: []Rule{{serves("blocks", "p", "n", "all"), "serve blocks, peers and operators"}}},
		{Name: "admin", Publish: []Rule{
			{of("meta.n", "adopt", "transfer"), "drive layout changes"},
			{of("blocks.n", "adopt", "transfer"), "drive layout changes"},
			{of("admin.n", "change-status"), "ask the driver how far a change is"},
			{of("*.n", "workers", "variables", "set-variable", "repair", "snapshot"), "what operators order"},
			{of("blocks.n", "block-errors", "block-info", "retry-blocks", "purge-blocks"), "what operators order"},
			{slices.Concat(of("meta.p", "row"), of("meta.n", "scan", "counters")), "see whether buckets are empty, count them"},
			{[]string{"hangar.control.all.barrier"}, "wait until all have seen a change"},
			{[]string{"$SRV.STATS"}, "see who is there"},
			{[]string{"$KV." + control.BucketName + ".>"}, "change the control state"},
			{stream("STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.GET", "STREAM.PURGE"), "make, read and restore the control state"},
		}, Subscribe: []Rule{{serves("admin", "n", "any"), "serve gateways and other admin processes"}}},
	}
	for i := range users {
		users[i].common()
	}
	return users
}

// common adds what every process does.
func (u *User) common() {
	u.Inbox = "_INBOX_" + u.Name
	u.Publish = append(u.Publish, Rule{stream("STREAM.INFO", "CONSUMER.CREATE.>", "CONSUMER.INFO.*",
		"CONSUMER.MSG.NEXT.*", "CONSUMER.DELETE.*"), "follow the control state"})
	u.Subscribe = append(u.Subscribe,
		Rule{[]string{u.Inbox + ".>"}, "answers to what it asked"},
		Rule{[]string{"hangar.control.all.barrier"}, "say that it has seen a change"},
		Rule{[]string{
			"hangar." + u.Name + ".n.status.*", "$SRV.*", "$SRV.*.hangar-" + u.Name, "$SRV.*.hangar-" + u.Name + ".*",
		}, "say that it is there"},
	)
}

// of are operations of a way to reach a service, at any partition or node.
func of(way string, ops ...string) (subjects []string) {
	for _, op := range ops {
		subjects = append(subjects, fmt.Sprintf("hangar.%s.%s.*", way, op))
	}
	return subjects
}

// serves are the ways on which a service can be reached.
func serves(service string, ways ...string) (subjects []string) {
	for _, way := range ways {
		subjects = append(subjects, fmt.Sprintf("hangar.%s.%s.>", service, way))
	}
	return subjects
}

// stream are requests to JetStream about the stream of the control state. What
// follows a verb with a dot comes after the stream's name.
func stream(verbs ...string) (subjects []string) {
	for _, v := range verbs {
		rest := ""
		for _, tail := range []string{".>", ".*"} {
			if cut, ok := strings.CutSuffix(v, tail); ok {
				v, rest = cut, tail
			}
		}
		subjects = append(subjects, "$JS.API."+v+".KV_"+control.BucketName+rest)
	}
	return subjects
}

func subjects(rules []Rule) (all []string) {
	for _, r := range rules {
		all = append(all, r.Subjects...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// answerTime is how long after a request its answer may be sent: longer than
// any request waits.
const answerTime = 5 * time.Minute

var configuration = template.Must(template.New("").Funcs(template.FuncMap{"subjects": subjects}).Parse(
	`# Who may say what: the users of Hangar and their permissions. Include this file
# in the configuration of every NATS server. It holds hashes of passwords only.
authorization {
  timeout: 5
  users: [
{{- range .Users}}
    {
      user: "{{.Name}}"
      password: "{{index $.Hashes .Name}}"
      permissions: {
        publish: { allow: [
{{- range subjects .Publish}}
          "{{.}}"
{{- end}}
        ] }
        subscribe: { allow: [
{{- range subjects .Subscribe}}
          "{{.}}"
{{- end}}
        ] }
        allow_responses: { max: 1, expires: "{{$.Expires}}" }
      }
    }
{{- end}}
  ]
}
`))

// WriteConfig writes the table in the format of NATS servers' configuration.
// hashes are the bcrypt hashes of the users' passwords, by user.
func WriteConfig(w io.Writer, hashes map[string]string) error {
	return configuration.Execute(w, map[string]any{"Users": Users(), "Hashes": hashes, "Expires": answerTime})
}

// WriteTable writes the table for people, in Markdown.
func WriteTable(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| user | may | subjects | to |\n|---|---|---|---|\n")
	for _, u := range Users() {
		for _, x := range []struct {
			may   string
			rules []Rule
		}{{"send", u.Publish}, {"listen", u.Subscribe}} {
			for _, r := range x.rules {
				fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", u.Name, x.may, strings.Join(r.Subjects, "` `"), r.Why)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
