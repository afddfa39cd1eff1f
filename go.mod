module github.com/seed-64ad3862/gatehouse

go 1.26.0

require (
	github.com/BurntSushi/toml v1.6.0 // cmd/gatehouse: its configuration file
	github.com/alecthomas/kong v1.17.0 // cmd/gatehouse: its command line
	github.com/anishathalye/porcupine v1.3.1 // tests: whether a history is linearizable
	github.com/boombuler/barcode v1.1.0 // signin: QR codes
	github.com/chromedp/cdproto v0.159.0 // tests: what chromedp speaks
	github.com/chromedp/chromedp v0.23.0 // tests: a real browser
	github.com/coder/websocket v1.8.15 // tests: what Firefox is driven by
	github.com/gin-gonic/gin v1.12.0 // examples/gin
	github.com/go-chi/chi/v5 v5.5.0 // examples/chi
	github.com/go-webauthn/webauthn v0.18.2 // passkey: the ceremonies and what they are encoded in
	github.com/jackc/pgx/v5 v5.12.0 // store/postgres
	github.com/labstack/echo/v5 v5.4.4 // examples/echo
	github.com/pquerna/otp v1.5.0 // signin: codes of authenticator apps
	github.com/prometheus/client_golang v1.25.0 // cmd/gatehouse: metrics
	github.com/redis/rueidis v1.0.79 // store/redis
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts that run the command
	github.com/wneessen/go-mail v0.8.1 // cmd/gatehouse: mail
	golang.org/x/crypto v0.58.0 // password: argon2id, and what others hash with; cmd/gatehouse: certificates by ACME
	golang.org/x/sync v0.24.0 // password: turns for a bounded amount of memory; cmd/gatehouse: stores opened side by side
	golang.org/x/term v0.47.0 // cmd/gatehouse: passwords that nobody sees
	golang.org/x/text v0.43.0 // account, captcha, password, signin: the forms of what people type, and languages; gatehouse: how wide that is
	modernc.org/sqlite v1.61.1 // store/sqlite
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/bytedance/gopkg v0.1.3 // indirect
	github.com/bytedance/sonic v1.15.0 // indirect
	github.com/bytedance/sonic/loader v0.5.0 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/cloudwego/base64x v0.1.6 // indirect
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/fxamacker/cbor/v2 v2.9.4 // indirect
	github.com/gabriel-vasile/mimetype v1.4.12 // indirect
	github.com/gin-contrib/sse v1.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/go-playground/locales v0.14.1 // indirect
	github.com/go-playground/universal-translator v0.18.1 // indirect
	github.com/go-playground/validator/v10 v10.30.1 // indirect
	github.com/go-viper/mapstructure/v2 v2.5.0 // indirect
	github.com/go-webauthn/x v0.3.1 // indirect
	github.com/goccy/go-json v0.10.5 // indirect
	github.com/goccy/go-yaml v1.19.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/json-iterator/go v1.1.12 // indirect
	github.com/klauspost/cpuid/v2 v2.3.0 // indirect
	github.com/leodido/go-urn v1.4.0 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd // indirect
	github.com/modern-go/reflect2 v1.0.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/pelletier/go-toml/v2 v2.2.4 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/quic-go/qpack v0.6.0 // indirect
	github.com/quic-go/quic-go v0.59.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/tinylib/msgp v1.6.4 // indirect
	github.com/twitchyliquid64/golang-asm v0.15.1 // indirect
	github.com/ugorji/go/codec v1.3.1 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	go.mongodb.org/mongo-driver/v2 v2.5.0 // indirect
	golang.org/x/arch v0.22.0 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.15.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	modernc.org/libc v1.79.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
