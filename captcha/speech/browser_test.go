package speech

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/internal/browser"
)

// page has a player, and what the browser decodes, as bytes again: -1 is 0 and 1
// is 255. In a context of the recording's own rate nothing is resampled.
const page = `<!doctype html><html lang=en><title>recording</title><link rel=icon href=data:,>
<audio controls src=recording></audio>
<script>
async function recording() {
	const data = await (await fetch("recording")).arrayBuffer();
	const context = new OfflineAudioContext(1, 1, 8000);
	const sound = await context.decodeAudioData(data);
	const samples = Uint8Array.from(sound.getChannelData(0), x => Math.round(x * (x < 0 ? 128 : 127)) + 128);
	const player = document.querySelector("audio");
	while (!(player.readyState >= 1)) await new Promise(done => setTimeout(done, 10));
	return {
		samples: btoa(Array.from(samples, x => String.fromCharCode(x)).join("")),
		channels: sound.numberOfChannels, rate: sound.sampleRate, seconds: player.duration,
	};
}
</script>`

// Chromium decodes what was encoded, and its player knows how long it takes.
func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	for _, cfg := range configs {
		d := newRenderer(t, cfg)
		want, err := d.Append(nil, "K7MP4", seed(1))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/recording" {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				fmt.Fprint(w, page)
				return
			}
			w.Header().Set("Content-Type", d.MediaType())
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Write(want)
		}))
		defer server.Close()
		tab := b.Tab(t)
		tab.Do(t, chromedp.Navigate(server.URL))
		got := browser.Get(t, tab, chromedp.Evaluate[struct {
			Samples        string
			Channels, Rate int
			Seconds        float64
		}]("recording()", chromedp.EvalAwaitPromise))
		samples, err := base64.StdEncoding.DecodeString(got.Samples)
		if err != nil {
			t.Fatal(err)
		}
		if got.Channels != 1 || got.Rate != 8000 {
			t.Errorf("%+v: %d channels of %d Hz", cfg, got.Channels, got.Rate)
		}
		if len(samples) < 8000 || string(samples) != string(want[44:][:len(samples)]) || len(want)-44-len(samples) > 1 {
			t.Errorf("%+v: other samples", cfg)
		}
		if math.Abs(got.Seconds-float64(len(samples))/8000) > 0.01 {
			t.Errorf("%+v: %.2f seconds", cfg, got.Seconds)
		}
	}
}
