package signin

import (
	"strings"

	"github.com/seed-64ad3862/gatehouse/session"
)

// describe says in a few words what browser on what system a User-Agent stands
// for, or as much of it as can be told. It is for people to know their own devices
// again, and nothing depends on it: anybody can send any.
func describe(agent string) string {
	browser, system := firstOf(agent, browsers), firstOf(agent, systems)
	switch {
	case browser != "" && system != "":
		return browser + ", " + system
	case browser+system != "":
		return browser + system
	}
	product, _, _ := strings.Cut(agent, "/")
	return plainText(product, 32)
}

type sign struct{ has, means string }

func firstOf(agent string, signs []sign) string {
	for _, s := range signs {
		if strings.Contains(agent, s.has) {
			return s.means
		}
	}
	return ""
}

// Those who also call themselves by another's name stand before it.
var browsers = []sign{
	{"Edg/", "Edge"},
	{"EdgA/", "Edge"},
	{"EdgiOS/", "Edge"},
	{"OPR/", "Opera"},
	{"Vivaldi/", "Vivaldi"},
	{"YaBrowser/", "Yandex"},
	{"SamsungBrowser/", "Samsung Internet"},
	{"MicroMessenger/", "WeChat"},
	{"QQBrowser/", "QQ"},
	{"UCBrowser/", "UC"},
	{"FxiOS/", "Firefox"},
	{"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"},
	{"HeadlessChrome/", "Chrome"},
	{"Chrome/", "Chrome"},
	{"Chromium/", "Chromium"},
	{"Safari/", "Safari"},
}

var systems = []sign{
	{"iPhone", "iPhone"},
	{"iPad", "iPad"},
	{"HarmonyOS", "HarmonyOS"},
	{"Android", "Android"},
	{"Windows", "Windows"},
	{"CrOS", "ChromeOS"},
	{"Mac OS X", "macOS"},
	{"Macintosh", "macOS"},
	{"Linux", "Linux"},
	{"FreeBSD", "FreeBSD"},
	{"OpenBSD", "OpenBSD"},
}

// A Device is what is known of where somebody has signed in.
type Device struct {
	Name   string // browser and system, as far as they can be told
	Addr   string
	Factor string // by which the sign-in was
}

// DeviceOf returns that of a session, which must have been listed with its fields.
func DeviceOf(i session.Info) Device {
	d, _ := deviceKey.From(i)
	return Device{describe(d.Agent), d.Addr, d.Factor}
}
