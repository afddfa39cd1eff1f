package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/wneessen/go-mail"

	"github.com/seed-64ad3862/gatehouse/signin"
)

// mail returns what sends messages; nil if nothing does.
func (s *server) mail() (func(context.Context, signin.Mail) error, error) {
	if s.SMTP == "" {
		return nil, nil
	}
	if s.MailFrom == "" {
		return nil, usageError{errors.New("--smtp needs --mail-from, the address that mail is from")}
	}
	u, err := address("smtp", s.SMTP, s.SMTPPasswordFile)
	if err != nil {
		return nil, err
	}
	client, err := smtpClient(u)
	if err != nil {
		return nil, err
	}
	if err := mail.NewMsg().From(s.MailFrom); err != nil {
		return nil, usageError{fmt.Errorf("--mail-from: %w", err)}
	}
	return func(ctx context.Context, m signin.Mail) error {
		msg := mail.NewMsg()
		if err := errors.Join(msg.From(s.MailFrom), msg.To(m.To)); err != nil {
			return err
		}
		msg.Subject(m.Subject)
		msg.SetBodyString(mail.TypeTextPlain, m.Text)
		// Vacation notices and the like are not to be answered to it (RFC 3834).
		msg.SetGenHeader("Auto-Submitted", "auto-generated")
		return client.DialAndSendWithContext(ctx, msg)
	}, nil
}

// smtpClient returns one that uses TLS, but for a server on this machine.
func smtpClient(u *url.URL) (*mail.Client, error) {
	options := []mail.Option{mail.WithTLSPolicy(mail.TLSMandatory)}
	switch {
	case u.Scheme == "smtps":
		options = append(options, mail.WithSSLPort(false))
	case u.Scheme != "smtp" || u.Hostname() == "":
		return nil, usageError{errors.New("--smtp is not like smtp://USER@HOST:587")}
	case u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1":
		options = []mail.Option{mail.WithTLSPolicy(mail.TLSOpportunistic)}
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, usageError{fmt.Errorf("--smtp: %q is not a port", p)}
		}
		options = append(options, mail.WithPort(n))
	}
	if name := u.User.Username(); name != "" {
		secret, _ := u.User.Password()
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(name), mail.WithPassword(secret))
	}
	client, err := mail.NewClient(u.Hostname(), options...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--smtp: %w", err)}
	}
	return client, nil
}
