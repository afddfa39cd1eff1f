package form

import (
	"embed"
	"io"
	"io/fs"
	"net/http"
	"strconv"

	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/internal/retry"
	"github.com/seed-64ad3862/gatehouse/internal/static"
)

//go:embed static
var files embed.FS

// mount puts together what is below the prefix: the challenges, which package
// captcha serves by their ids, the work, and the files.
func (f *Form) mount() error {
	dir, err := fs.Sub(files, "static")
	if err != nil {
		return err
	}
	own, err := static.New(f.cfg.Prefix+"part/", dir)
	if err != nil {
		return err
	}
	if f.style, err = own.URL("part.css"); err != nil {
		return err
	}
	if f.code, err = own.URL("part.js"); err != nil {
		return err
	}
	solver, address, err := pow.Script(f.cfg.Prefix + "pow/")
	if err != nil {
		return err
	}
	f.solve = address
	f.mux.Handle(f.cfg.Prefix, f.codes)
	f.mux.Handle(f.cfg.Prefix+"part/", own)
	f.mux.Handle(f.cfg.Prefix+"pow/", solver)
	f.mux.HandleFunc("POST "+f.cfg.Prefix+"work", f.serveWork)
	return nil
}

// ServeHTTP serves pictures, sounds, films, more work, the style and the script,
// below [Config.Prefix].
func (f *Form) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.mux.ServeHTTP(w, r) }

// maxWork bounds a challenge on its way back.
const maxWork = 4096

// serveWork answers a challenge with its successor.
func (f *Form) serveWork(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.cfg.Allow != nil {
		if err := f.cfg.Allow(r); err != nil {
			if after := retry.After(err); after != "" {
				h.Set("Retry-After", after)
			}
			refuse(w, http.StatusTooManyRequests)
			return
		}
	}
	old, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWork))
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	challenge, err := f.toll.Reissue(old)
	if err != nil {
		refuse(w, http.StatusNotFound)
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(challenge)))
	w.Write(challenge)
}

func refuse(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }
