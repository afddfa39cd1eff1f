module github.com/seed-64ad3862/gatehouse

go 1.26.0

require (
	github.com/alecthomas/kong v1.17.0 // cmd/gatehouse: its command line
	github.com/boombuler/barcode v1.1.0 // signin: QR codes
	github.com/chromedp/cdproto v0.159.0 // tests: what chromedp speaks
	github.com/chromedp/chromedp v0.23.0 // tests: a real browser
	github.com/go-webauthn/webauthn v0.18.2 // passkey: the ceremonies and what they are encoded in
	github.com/jackc/pgx/v5 v5.12.0 // store/postgres
	github.com/pquerna/otp v1.5.0 // signin: codes of authenticator apps
	github.com/redis/rueidis v1.0.79 // store/redis
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts that run the command
	golang.org/x/crypto v0.58.0 // password: argon2id, and what others hash with
	golang.org/x/sync v0.24.0 // password: turns for a bounded amount of memory
	golang.org/x/text v0.43.0 // account, captcha, password, signin: the forms of what people type, and languages
	modernc.org/sqlite v1.61.1 // store/sqlite
)

require (
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/fxamacker/cbor/v2 v2.9.4 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/go-viper/mapstructure/v2 v2.5.0 // indirect
	github.com/go-webauthn/x v0.3.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/tinylib/msgp v1.6.4 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	modernc.org/libc v1.79.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
