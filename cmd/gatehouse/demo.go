package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/seed-64ad3862/gatehouse/examples/tutorial"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

type demoCmd struct {
	Listen       string `default:"localhost:9000" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
	InsecureHTTP bool   `name:"insecure-http" help:"Listen on more than this machine, although cookies travel in the clear."`
}

// Help is what `gatehouse demo --help` says besides.
func (demoCmd) Help() string {
	return "Each visit to /index or /manager prints all sessions with their values, the codes of " +
		"the pictures too, to standard output: one JSON object on a line. Everything else goes " +
		"to standard error. The sessions are gone when it ends."
}

// Run serves until the context ends.
func (c demoCmd) Run(ctx context.Context, std streams) error {
	return demoConfig{
		listen:   c.Listen,
		insecure: c.InsecureHTTP,
		out:      std.out,
		notes:    std.err,
		logger:   slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{ReplaceAttr: logtext.ReplaceAttr})),
	}.run(ctx)
}

type demoConfig struct {
	listen     string
	insecure   bool
	out, notes io.Writer
	logger     *slog.Logger
}

func (cfg demoConfig) run(ctx context.Context) error {
	l, err := listen(ctx, cfg.listen, cfg.insecure)
	if err != nil {
		return err
	}
	defer l.close()
	site, err := tutorial.New(tutorial.Config{
		Insecure: true,
		Origins:  l.origins(),
		Out:      cfg.out,
		Logger:   cfg.logger,
	})
	if err != nil {
		return err
	}
	if !l.loopback {
		fmt.Fprintf(cfg.notes, "Warning: this is plain HTTP, and not only for this machine. Whoever is on the way can read the cookies.\n\n")
	}
	fmt.Fprintf(cfg.notes, `The tutorial site is at %[1]s (Ctrl-C ends it). Try

  %[1]s/login           read the picture; click it for another
  %[1]s/csrf            a form that only this site can send
  %[1]s/index?u=alex    sign in as alex, or eric
  %[1]s/manager         see who is signed in

/index and /manager print all sessions here, with the codes of the pictures.
`, l.url())
	return serve(ctx, site, l, cfg.logger)
}
