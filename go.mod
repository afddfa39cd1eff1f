module github.com/seed-64ad3862/gatehouse

go 1.25.0

require (
	github.com/alecthomas/kong v1.17.0 // cmd/gatehouse: its command line
	github.com/chromedp/cdproto v0.159.0 // tests: what chromedp speaks
	github.com/chromedp/chromedp v0.23.0 // tests: a real browser
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts that run the command
	golang.org/x/text v0.41.0 // captcha: folding of what people type; the last version for go 1.25
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/tools v0.48.0 // indirect
)
