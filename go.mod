module github.com/seed-64ad3862/gatehouse

go 1.26.0

require (
	github.com/alecthomas/kong v1.17.0 // cmd/gatehouse: its command line
	github.com/chromedp/cdproto v0.159.0 // tests: what chromedp speaks
	github.com/chromedp/chromedp v0.23.0 // tests: a real browser
	github.com/jackc/pgx/v5 v5.12.0 // store/postgres
	github.com/redis/rueidis v1.0.79 // store/redis
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts that run the command
	golang.org/x/crypto v0.58.0 // password: argon2id, and what others hash with
	golang.org/x/sync v0.24.0 // password: turns for a bounded amount of memory
	golang.org/x/text v0.43.0 // captcha, password: the forms of what people type
	modernc.org/sqlite v1.61.1 // store/sqlite
)

require (
	github.com/boombuler/barcode v1.1.0 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/pquerna/otp v1.5.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	modernc.org/libc v1.79.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
