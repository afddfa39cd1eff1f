package password_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/password"
)

func ExamplePolicy() {
	p := password.Policy{Names: []string{"Gatehouse", "gatehouse.example"}}
	for _, typed := range []string{"pa55word", "gatehouse2026", "zoe.miller!", "seven", "a kettle on the roof"} {
		switch err := p.Check(context.Background(), typed, "zoe.miller@mail.example"); {
		case errors.Is(err, password.ErrShort):
			fmt.Println("has less than 8 characters")
		case errors.Is(err, password.ErrCommon):
			fmt.Println("is among the first that are tried")
		case errors.Is(err, password.ErrName):
			fmt.Println("is made of a name")
		default:
			fmt.Println(err)
		}
	}
	// Output:
	// is among the first that are tried
	// is made of a name
	// is made of a name
	// has less than 8 characters
	// <nil>
}

func TestPolicy(t *testing.T) {
	stolen := func(_ context.Context, p string) (bool, error) { return p == "what was stolen", nil }
	for _, c := range []struct {
		p    password.Policy
		text string
		want error
	}{
		{password.Policy{}, "", password.ErrShort},
		{password.Policy{}, "kQ7!xP2", password.ErrShort},
		{password.Policy{}, "kQ7!xP2z", nil},
		{password.Policy{Length: 3}, "kQ7!xP2", password.ErrShort},
		{password.Policy{Length: 15}, "kQ7!xP2zkQ7!xP", password.ErrShort},
		{password.Policy{Length: 15}, "kQ7!xP2zkQ7!x_P", nil},
		{password.Policy{}, "四つの言葉です", password.ErrShort}, // seven characters
		{password.Policy{}, "四つの言葉ですね", nil},
		{password.Policy{}, "e\u0301e\u0301e\u0301e\u0301abc", password.ErrShort}, // seven, in NFC
		{password.Policy{}, strings.Repeat("kQ7!xP2z-", 1024/9), nil},
		{password.Policy{}, strings.Repeat("kQ7!xP2z-", 1024/9+1), password.ErrInvalid},
		{password.Policy{}, "not UTF-8 \xff", password.ErrInvalid},
		{password.Policy{}, "with\x00a zero", nil},

		{password.Policy{}, "password", password.ErrCommon},
		{password.Policy{}, "PassWord", password.ErrCommon},
		{password.Policy{}, "ｐａｓｓｗｏｒｄ", password.ErrCommon},
		{password.Policy{}, "pàsswörd", password.ErrCommon},
		{password.Policy{}, "P4$$w0rd", password.ErrCommon},
		{password.Policy{}, "password1!", password.ErrCommon},
		{password.Policy{}, "!Dragon99", password.ErrCommon},
		{password.Policy{}, "dragon in 1999", nil},
		{password.Policy{}, "12345678", password.ErrCommon},
		{password.Policy{}, "876543210", password.ErrCommon},
		{password.Policy{}, "bcdefghij", password.ErrCommon},
		{password.Policy{}, "zyxwvutsrq", password.ErrCommon},
		{password.Policy{}, "qwertzuiop", password.ErrCommon},
		{password.Policy{}, "';lkjhgfd", password.ErrCommon},
		{password.Policy{}, "aaaaaaaaaaaaaaaaaaaaa", password.ErrCommon},
		{password.Policy{}, "kQ7kQ7kQ7kQ7kQ", password.ErrCommon},
		{password.Policy{}, "kQ7xkQ7xkQ7y", nil},

		{password.Policy{Names: []string{"Gate House"}}, "gatehouse7", password.ErrName},
		{password.Policy{Names: []string{"Gate House"}}, "my house has a gate in it", nil},
		{password.Policy{Names: []string{"Gatehouse"}}, "g4teh0use-99", password.ErrName},
		{password.Policy{Names: []string{"Gatehouse"}}, "ESUOHETAG99", password.ErrName},
		{password.Policy{Names: []string{"Ed", ""}}, "edible hats", nil},
		{password.Policy{}, "zoe.miller", password.ErrName},
		{password.Policy{}, "Miller-zoe-1", password.ErrName},
		{password.Policy{}, "zoe knows seven songs", nil},

		{password.Policy{Breached: stolen}, "what was stolen", password.ErrBreached},
		{password.Policy{Breached: stolen}, "what was not stolen", nil},
	} {
		if err := c.p.Check(t.Context(), c.text, "zoe.miller@mail.example"); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.text, err, c.want)
		}
	}
}

func TestPolicyBreached(t *testing.T) {
	away := errors.New("away")
	p := password.Policy{Breached: func(ctx context.Context, p string) (bool, error) {
		if p != "é, a letter" {
			t.Errorf("asked for %q", p)
		}
		return false, away
	}}
	if err := p.Check(t.Context(), "e\u0301, a letter"); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if err := p.Check(t.Context(), "password"); !errors.Is(err, password.ErrCommon) {
		t.Errorf("asked although it is common: %v", err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add("pa55word", "zoe")
	f.Add("e\u0301\xff", "a.b@c")
	f.Add("ﬁﬁﬁﬁ", "fi fi")
	f.Fuzz(func(t *testing.T, typed, about string) {
		err := password.Policy{Names: []string{about}}.Check(t.Context(), typed, about)
		if err == nil && len([]rune(typed)) < password.MinLength {
			t.Errorf("%q can be chosen", typed)
		}
		for _, known := range []error{nil, password.ErrInvalid, password.ErrShort, password.ErrCommon, password.ErrName} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Errorf("%q: %v", typed, err)
	})
}
