package pow_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
)

// costs are those of the table in the package's documentation.
var costs = []int{50, 200, 1000, 5000, 20_000}

// always is a Once that lets one solution be verified again and again.
type always struct{}

func (always) Spend(context.Context, [16]byte, time.Time) (bool, error) { return true, nil }

func BenchmarkIssue(b *testing.B) {
	for _, cost := range costs {
		b.Run(fmt.Sprint("cost=", cost), func(b *testing.B) {
			t := newToll(b, pow.Config{})
			b.ReportAllocs()
			for b.Loop() {
				_, err := t.Issue(pow.Demand{Scope: scope, Cost: cost})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A wrong solution must not cost more than a right one.
func BenchmarkVerify(b *testing.B) {
	t := newToll(b, pow.Config{Once: always{}})
	d := pow.Demand{Scope: scope}
	right := solved(b, t, d)
	for name, payload := range map[string]string{
		"right":     right,
		"wrong":     edit(b, right, "solution.derivedKey", fmt.Sprintf("%064x", 7)),
		"forged":    edit(b, right, "challenge.parameters.cost", 1),
		"scope":     solved(b, t, pow.Demand{Scope: captcha.Scope{Purpose: "other"}}),
		"malformed": right[:len(right)-4],
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := t.Verify(b.Context(), d, payload, ""); (err == nil) != (name == "right") {
					b.Fatal(err)
				}
			}
		})
	}
}

// What one try takes on one processor: a program that runs [pow.Solve], the
// solver of [pow.Script], and the ALTCHA widget's worker.
func BenchmarkTry(b *testing.B) {
	tries := func(cost int) int { return 2_000_000 / (cost + 500) } // some tenths of a second
	// Starting a worker takes as long as some hundred tries do, and is not
	// counted.
	const script = `
		const worker = WORKER;
		const run = (challenge) => new Promise((resolve) => {
			worker.onmessage = ({data}) => { if (!("tried" in data)) resolve(); };
			worker.postMessage({
				challenge, counterMode: "uint32", counterStart: 0, counterStep: 1, type: "work",
				parameters: challenge.parameters, first: 0, step: 1,
			});
		});
		await run(FIRST);
		const start = performance.now();
		await run(LAST);
		worker.terminate();
		return performance.now() - start;`
	workers := map[string]string{
		"solver": `new Worker(performance.getEntriesByType("resource").find((r) => r.name.includes("/solve.js")).name, {type: "module", name: "gatehouse-pow"})`,
		"widget": `$altcha.algorithms.get("PBKDF2/SHA-256")()`,
	}
	b.Run("native", func(b *testing.B) {
		for _, cost := range costs {
			b.Run(fmt.Sprint("cost=", cost), func(b *testing.B) {
				c := known(b, cost, uint32(tries(cost)))
				for b.Loop() {
					if _, err := pow.Solve(b.Context(), c); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*tries(cost)), "µs/try")
			})
		}
	})
	for name, worker := range workers {
		b.Run(name, func(b *testing.B) {
			tab := browser.Start(b).Tab(b)
			if name == "solver" {
				openSolver(b, tab, ours)
			} else {
				s := newSite(b, theirs, theWidget, "")
				tab.Do(b, chromedp.Navigate(s.URL))
				tab.Wait(b, `globalThis.$altcha`)
			}
			for _, cost := range costs {
				b.Run(fmt.Sprint("cost=", cost), func(b *testing.B) {
					script := strings.NewReplacer("WORKER", worker, "FIRST", string(known(b, cost, 0)), "LAST", string(known(b, cost, uint32(tries(cost))))).Replace(script)
					var ms float64
					for b.Loop() {
						ms += async[float64](b, tab, script)
					}
					b.ReportMetric(ms*1000/float64(b.N*tries(cost)), "µs/try")
				})
			}
		})
	}
}

// known returns a challenge that this counter solves.
func known(t testing.TB, cost int, counter uint32) []byte {
	t.Helper()
	nonce, salt := make([]byte, 16), make([]byte, 16)
	rand.Read(nonce)
	key, err := pbkdf2.Key(sha256.New, string(binary.BigEndian.AppendUint32(nonce, counter)), salt, cost, 32)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"parameters":{"algorithm":"PBKDF2/SHA-256","cost":%d,"keyLength":32,"keyPrefix":"%x","nonce":"%x","salt":"%x"}}`,
		cost, key[:16], nonce, salt)
}
