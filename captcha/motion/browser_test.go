package motion

import (
	"fmt"
	"image/color"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/internal/browser"
)

// page shows the film, and has its frames as the browser's decoder gives them:
// a character per cell, which is 1 where the colour is the ink and 0 where it is
// the paper.
const page = `<!doctype html><html lang=en><title>film</title><link rel=icon href=data:,>
<img src=film alt="" width=240 height=90 style="image-rendering: pixelated">
<script>
async function film(type, paper, ink) {
	const data = await (await fetch("film")).arrayBuffer();
	const decoder = new ImageDecoder({data, type});
	await Promise.all([decoder.tracks.ready, decoder.completed]);
	const track = decoder.tracks.selectedTrack;
	const frames = [];
	for (let i = 0; i < track.frameCount; i++) {
		const {image} = await decoder.decode({frameIndex: i});
		const canvas = new OffscreenCanvas(image.codedWidth, image.codedHeight);
		const context = canvas.getContext("2d");
		context.drawImage(image, 0, 0);
		const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
		let cells = "";
		for (let p = 0; p < pixels.length; p += 4) {
			const colour = pixels.slice(p, p + 4).join();
			cells += colour === ink ? "1" : colour === paper ? "0" : "?";
		}
		frames.push({cells, width: canvas.width, height: canvas.height, duration: image.duration});
	}
	return {frames, repetitions: track.repetitionCount, shown: document.images[0].naturalWidth};
}
</script>`

// Chromium decodes the frames that were drawn, with their times, and plays them
// as often as asked.
func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	for i, cfg := range []Config{{Format: GIF}, {Format: APNG}, {Format: GIF, Loops: 1, Ink: Dark()}, {Format: APNG, Loops: 1, Ink: Dark()}} {
		d := newRenderer(t, cfg)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/film" {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				fmt.Fprint(w, page)
				return
			}
			film, err := d.Append(nil, "K7MPY", seed(1))
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", d.MediaType())
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Write(film)
		}))
		defer server.Close()
		tab := b.Tab(t)
		tab.Do(t, chromedp.Navigate(server.URL))
		got := browser.Get(t, tab, chromedp.Evaluate[struct {
			Frames []struct {
				Cells                   string
				Width, Height, Duration int
			}
			Repetitions, Shown int
		}](fmt.Sprintf("film(%q, %q, %q)", d.MediaType(), rgba(d.cfg.Ink.Paper), rgba(d.cfg.Ink.Ink)), chromedp.EvalAwaitPromise))

		want, err := d.Frames("K7MPY", seed(1))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Frames) != len(want) {
			t.Fatalf("%s: %d frames", d.MediaType(), len(got.Frames))
		}
		for j, frame := range got.Frames {
			var cells strings.Builder
			for _, bit := range want[j].Pix {
				fmt.Fprint(&cells, bit)
			}
			if frame.Width != 120 || frame.Height != 45 || frame.Cells != cells.String() {
				t.Errorf("%s: frame %d differs", d.MediaType(), j)
			}
			if frame.Duration != 60_000 {
				t.Errorf("%s: frame %d takes %d µs", d.MediaType(), j, frame.Duration)
			}
		}
		if got.Repetitions != d.cfg.Loops-1 {
			t.Errorf("%s: %d repetitions of %d loops", d.MediaType(), got.Repetitions, d.cfg.Loops)
		}
		if got.Shown != 120 {
			t.Errorf("%s: the page shows a picture %d wide", d.MediaType(), got.Shown)
		}
		tab.Screenshot(t, fmt.Sprintf("%s-%d", strings.TrimPrefix(d.MediaType(), "image/"), i))
	}
}

func rgba(c color.RGBA) string { return fmt.Sprintf("%d,%d,%d,%d", c.R, c.G, c.B, c.A) }
