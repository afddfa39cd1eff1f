package redis

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

// pieces is a connection that answers what it was given, in pieces.
type pieces struct {
	net.Conn
	answers []byte
	size    int
}

func (p *pieces) Write(b []byte) (int, error) { return len(b), nil }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.answers) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.answers)
	p.answers = p.answers[n:]
	return n, nil
}

// greet returns what is read after these commands were written, of such answers.
func greet(t *testing.T, commands, answers string, size int) string {
	t.Helper()
	g := &greeting{Conn: &pieces{answers: []byte(answers), size: size}}
	if n, err := g.Write([]byte(commands)); n != len(commands) || err != nil {
		t.Fatal(n, err)
	}
	var read bytes.Buffer
	b := make([]byte, 1+size)
	for {
		n, err := g.Read(b)
		read.Write(b[:n])
		if err != nil {
			return read.String()
		}
	}
}

func resp(commands ...string) (text string) {
	var b bytes.Buffer
	for _, c := range commands {
		words := strings.Fields(c)
		b.WriteString("*" + string(rune('0'+len(words))) + "\r\n")
		for _, w := range words {
			b.WriteString("$" + string(rune('0'+len(w))) + "\r\n" + w + "\r\n")
		}
	}
	return b.String()
}

// TestGreeting: a refusal of HELLO is read in the words that rueidis understands,
// and everything else as it is.
func TestGreeting(t *testing.T) {
	hello, auth := resp("HELLO 3", "CLIENT TRACKING ON OPTIN"), resp("AUTH u p", "HELLO 2", "PING")
	for _, test := range []struct{ commands, answers, want string }{
		{hello, "%1\r\n+proto\r\n:3\r\n+OK\r\n", ""},
		{hello, "-NOPROTO no\r\n-ERR what\r\n", unknownHello + "-ERR what\r\n"},
		{hello, "-ERR\r\n", unknownHello},
		{hello, "-\r\n+OK\r\n", unknownHello + "+OK\r\n"},
		{hello, "-NOAUTH HELLO must be called\r\n-NOAUTH\r\n", ""},
		{hello, "-WRONGPASS invalid\r\n", ""},
		{hello, "-LOADING wait\r\n", ""},
		{hello, "-ERR cut", ""},
		{hello, "", ""},
		{auth, "+OK\r\n-ERR no\r\n+PONG\r\n", "+OK\r\n" + unknownHello + "+PONG\r\n"},
		{auth, "-WRONGPASS\r\n-NOAUTH\r\n-NOAUTH\r\n", ""},
		{auth, "-ERR no password is set\r\n*0\r\n+PONG\r\n", ""},
		{resp("PING", "HELLO 3"), "+PONG\r\n-ERR no\r\n", ""},
		{resp("SET k HELLO"), "-ERR no\r\n", ""},
		{resp("AUTH u p"), "-ERR no\r\n", ""},
		{"*1\r\n$5\r\nHEL", "-ERR no\r\n", ""},
	} {
		if test.want == "" {
			test.want = test.answers
		}
		for _, size := range []int{1, 2, 7, 1000} {
			if got := greet(t, test.commands, test.answers, size); got != test.want {
				t.Errorf("%q, answered %q in pieces of %d: %q, want %q", test.commands, test.answers, size, got, test.want)
			}
		}
	}
}

// FuzzGreeting: whatever is answered, and in whatever pieces, it is read whole and as
// it is, but for one line.
func FuzzGreeting(f *testing.F) {
	f.Add(resp("HELLO 3"), "-ERR no\r\n+OK\r\n", 3)
	f.Add(resp("AUTH a b", "HELLO 2"), "+OK\r\n-ERR no\r\n", 1)
	f.Add("*-1\r\n$99999999999999999999\r\n", "\r\n", 2)
	f.Add("*2\r\n$-1\r\n$0\r\n\r\n", "-\n", 5)
	f.Fuzz(func(t *testing.T, commands, answers string, size int) {
		if size < 1 || size > 1000 {
			return
		}
		got := greet(t, commands, answers, size)
		if whole := greet(t, commands, answers, 1<<20); got != whole {
			t.Errorf("%q in pieces, %q in one", got, whole)
		}
		if before, after, ok := strings.Cut(got, unknownHello); got != answers &&
			(!ok || !strings.HasPrefix(answers, before) || !strings.HasSuffix(answers, after)) {
			t.Errorf("%q is read as %q", answers, got)
		}
	})
}
