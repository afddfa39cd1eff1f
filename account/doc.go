// Package account keeps people: who may sign in, and with what.
//
//	people, err := account.New(account.Config{Store: store})
//
//	p, err := people.Create(ctx, account.Person{Name: "alex", Password: hash})
//	p, err := people.ByName(ctx, typed)                  // ErrNotFound
//	p, err := people.Update(ctx, p.ID, func(p *account.Person) error {
//		p.Password = another
//		return nil
//	})
//
// It knows nothing of HTTP and computes no hashes: package password does, and
// package signin has the pages.
//
// # Changes
//
// A person is read and written as a whole, and each change names the version that
// it was made of. [Directory.Update] calls its function again with what somebody
// else has stored meanwhile. What must happen once, such as the use of a code, is
// therefore decided inside that function, and happens once, on any number of
// machines.
//
// # Names
//
// A name is what one types to sign in. It is kept in the form in which names are
// compared: [Canonical]. Two that differ by case, by width, or hardly to the eye
// cannot both be there: see [Skeleton]. People are shown their DisplayName.
//
// # Stores
//
// A [Store] keeps records under keys and knows nothing of people, so that there
// is little to get wrong. [Memory] is one; store/sqlite and store/postgres have
// others; package accounttest has the contract as tests. Beside records they keep
// the [Log] of what has happened.
package account
