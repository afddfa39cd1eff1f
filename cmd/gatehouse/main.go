// Command gatehouse puts a gate before web applications.
//
//	gatehouse serve      people sign in, on http://localhost:9000
//	gatehouse user       adds people, and looks after them
//	gatehouse session    lists sessions, shows them and ends them
//	gatehouse audit      what has happened
//	gatehouse config     what is wrong with the settings
//	gatehouse demo       a small site to try sessions, CAPTCHA and CSRF protection on
//	gatehouse version    what this binary was built from
//
// `gatehouse --help` says more. The exit status is 0 if all went well, 1 if
// something failed, and 2 if the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line: flags become a Config, and that runs.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Serve the pages by which people sign in."`
	User    userCmd    `cmd:"" help:"Add people, and look after them."`
	Session sessionCmd `cmd:"" help:"List sessions, show them, and end them."`
	Audit   auditCmd   `cmd:"" help:"Show what has happened."`
	Config  configCmd  `cmd:"" name:"config" help:"Check the configuration."`
	Demo    demoCmd    `cmd:"" help:"Serve the tutorial site: sign-in, CAPTCHA and forms to try, its sessions in plain sight."`
	Version versionCmd `cmd:"" help:"Print the version."`

	File string `name:"config" placeholder:"FILE" help:"Configuration file (gatehouse.toml, if it is there)."`
}

// streams are where a command writes: to out what it was asked for, and nothing
// else, so that programs can read it; to err what people should know.
type streams struct{ out, err io.Writer }

// usageError is a mistake in the command line.
type usageError struct{ error }

func main() {
	os.Exit(run(untilSignal(context.Background()), os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// untilSignal returns a context that ends with the first signal to end the
// program. The second one then ends it, as if this were not there.
func untilSignal(ctx context.Context) context.Context {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// run returns the exit status.
func run(ctx context.Context, args []string, std streams) int {
	exited := -1 // --help exits by way of Kong, and must not end who calls run
	config, err := configOf(args)
	if err != nil {
		return exit(std, err)
	}
	parser, err := kong.New(&cli{},
		kong.PostBuild(addVariables),
		kong.Resolvers(config),
		kong.Name("gatehouse"),
		kong.Description("The gate before a web application: sessions, CAPTCHA, and protection against cross-site requests."),
		kong.Writers(std.out, std.err),
		kong.Exit(func(status int) { exited = status }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 90}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		fmt.Fprintln(std.err, "gatehouse:", err)
		return 1
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		err = usageError{err}
	} else {
		err = command.Run()
	}
	return exit(std, err)
}

// exit says what went wrong, and returns the status.
func exit(std streams, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(std.err, "gatehouse: %v\nRun \"gatehouse --help\" for help.\n", err)
		return 2
	default:
		fmt.Fprintln(std.err, "gatehouse:", err)
		return 1
	}
}
