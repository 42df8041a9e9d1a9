// Package broker says who may say what on NATS: one table of users, from which
// come the permissions that NATS servers enforce, the credentials, and the page
// that explains them.
package broker

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"hangar/shared/control"
	"hangar/shared/rpc"
)

// Accounts of NATS. Nothing passes between them but what ControlAccount lets the
// other see of the control state. See docs/adr/0021.
const (
	ServicesAccount = "HANGAR"
	// ControlAccount holds the stream of the control state. Only the user control
	// is in it.
	ControlAccount = "HANGAR_CONTROL"
)

// Rule allows subjects (patterns) for a reason.
type Rule struct {
	Subjects []string
	Why      string
}

// User is what the processes of one service may do.
type User struct {
	Name string
	// Account is where it is: ServicesAccount or ControlAccount.
	Account string
	// Service is the one whose processes have its password.
	Service string
	// Inbox is the prefix of the subjects that this user's answers arrive on. No
	// other user may listen there.
	Inbox string
	// Publish are the subjects that it may send to, answers included. There is no
	// right to answer whatever asks: who asks chooses the subject of the answer.
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
			{answers("admin"), "answer operators"},
		}, Subscribe: []Rule{{of("gateway.p", "changed"), "hear that items have been written"}}},
		{Name: "meta", Publish: []Rule{
			{of("meta.p", "row"), "finish and carry over rows"},
			{of("meta.n", "scan", "inventory", "digests", "states", "forget"), "compare with other members"},
			{answers("gateway", "meta", "blocks", "admin"), "answer whoever asks for rows"},
		}, Subscribe: []Rule{{serves("meta", "p", "n"), "serve rows, peers and operators"}}},
		{Name: "blocks", Publish: []Rule{
			{of("blocks.n", "get", "list", "digests", "confirm"), "fetch from and compare with other members"},
			{[]string{"hangar.blocks.all.release"}, "hint that blocks have lost their owner"},
			{of("meta.p", "row"), "ask whether owners live"},
			{answers("gateway", "blocks", "admin"), "answer whoever asks for blocks"},
		}, Subscribe: []Rule{{serves("blocks", "p", "n", "all"), "serve blocks, peers and operators"}}},
		{Name: "admin", Publish: []Rule{
			{of("meta.n", "adopt", "transfer"), "drive layout changes"},
			{of("blocks.n", "adopt", "transfer"), "drive layout changes"},
			{of("admin.n", "change-status"), "ask the driver how far a change is"},
			{slices.Concat(of("meta.n", "statistics"), of("blocks.n", "statistics")), "see what nodes hold"},
			{of("*.n", "workers", "variables", "set-variable", "repair", "snapshot"), "what operators order"},
			{of("blocks.n", "block-errors", "block-info", "retry-blocks", "purge-blocks"), "what operators order"},
			{slices.Concat(of("meta.p", "row"), of("meta.n", "scan", "counters")), "see whether buckets are empty, count them"},
			{[]string{"hangar.control.all.barrier"}, "wait until all have seen a change"},
			{[]string{"$SRV.STATS"}, "see who is there"},
			{answers("gateway", "admin"), "answer gateways and other admin processes"},
		}, Subscribe: []Rule{{serves("admin", "n", "any"), "serve gateways and other admin processes"}}},
	}
	for i := range users {
		users[i].service()
	}
	return append(users, User{
		Name: "control", Account: ControlAccount, Service: "admin", Inbox: "_INBOX_control", Publish: []Rule{
			{[]string{"$KV." + control.BucketName + ".>"}, "change the control state"},
			{stream("STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.GET", "STREAM.PURGE"), "make, read and restore it"},
			{[]string{control.StreamInfoSubject}, "ask how far it goes"},
		}, Subscribe: []Rule{{[]string{"_INBOX_control.>"}, "answers to what it asked"}},
	})
}

// service adds what every process does.
func (u *User) service() {
	u.Account, u.Service, u.Inbox = ServicesAccount, u.Name, "_INBOX_"+u.Name
	u.Publish = append(u.Publish, Rule{[]string{control.InfoSubject, control.ReadSubject}, "follow the control state"})
	u.Subscribe = append(u.Subscribe,
		Rule{[]string{control.ChangedSubject}, "learn that the control state has changed"},
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

// answers are where processes of other services wait for answers.
func answers(users ...string) (subjects []string) {
	for _, u := range users {
		subjects = append(subjects, rpc.AnswersPrefix("_INBOX_"+u)+">")
	}
	return subjects
}

// stream are requests to JetStream about the stream of the control state.
func stream(verbs ...string) (subjects []string) {
	for _, v := range verbs {
		subjects = append(subjects, "$JS.API."+v+".KV_"+control.BucketName)
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

// marker begins the file that WriteConfig writes. Its number changes when
// processes of this version cannot work with what an earlier one wrote.
const marker = "# Users of Hangar, version 2."

var configuration = template.Must(template.New("").Funcs(template.FuncMap{"subjects": subjects}).Parse(
	`{{.Marker}} Who may say what. Include this file in the
# configuration of every NATS server. It holds hashes of passwords only.
accounts {
  {{.Control}} {
    jetstream: enabled
    users: [{{range .Users}}{{if eq .Account $.Control}}{{template "user" .}}{{end}}{{end}}
    ]
    exports: [
      { service: "{{.StreamInfo}}", accounts: [{{.Services}}] }
      { service: "{{.Read}}", response_type: "stream", accounts: [{{.Services}}] }
      { stream: "{{.Changed}}", accounts: [{{.Services}}] }
    ]
  }
  {{.Services}} {
    users: [{{range .Users}}{{if eq .Account $.Services}}{{template "user" .}}{{end}}{{end}}
    ]
    imports: [
      { service: { account: {{.Control}}, subject: "{{.StreamInfo}}" }, to: "{{.Info}}" }
      { service: { account: {{.Control}}, subject: "{{.Read}}" } }
      { stream: { account: {{.Control}}, subject: "{{.Changed}}" } }
    ]
  }
}
{{define "user"}}
      {
        user: "{{.Name}}"
        password: "{{.Hash}}"
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
        }
      }
{{- end}}`))

// WriteConfig writes the table in the format of NATS servers' configuration.
// hashes are the bcrypt hashes of the users' passwords, by user.
func WriteConfig(w io.Writer, hashes map[string]string) error {
	type hashed struct {
		User
		Hash string
	}
	var users []hashed
	for _, u := range Users() {
		users = append(users, hashed{u, hashes[u.Name]})
	}
	return configuration.Execute(w, map[string]any{
		"Marker": marker, "Users": users, "Services": ServicesAccount, "Control": ControlAccount,
		"Info": control.InfoSubject, "StreamInfo": control.StreamInfoSubject, "Read": control.ReadSubject, "Changed": control.ChangedSubject,
	})
}

// Outdated reports whether a file was written by WriteConfig of an earlier
// version, with which processes of this one do not work.
func Outdated(config []byte) bool {
	return bytes.HasPrefix(config, []byte("# Who may say what: the users of Hangar"))
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
