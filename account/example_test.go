package account_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

// Somebody gets a link, and chooses a password with it, once.
func Example() {
	ctx := context.Background()
	people, err := account.New(account.Config{Store: new(account.Memory)})
	if err != nil {
		fmt.Println(err)
		return
	}
	alex, err := people.Create(ctx, account.Person{Name: "Alex"})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := people.NewLink(ctx, alex.ID, account.Recovery, time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		_, err = people.Update(ctx, alex.ID, func(p *account.Person) error {
			p.Password = "$argon2id$…"
			return p.UseLink(token, account.Recovery)
		})
		fmt.Println(err)
	}
	_, err = people.Create(ctx, account.Person{Name: "a1ex"})
	fmt.Println(err)

	// Output:
	// <nil>
	// account: link unknown, used or expired
	// account: the name, or one that looks like it, is taken
}
