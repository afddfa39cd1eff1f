package form

import (
	"errors"
	"strings"

	"github.com/seed-64ad3862/gatehouse/captcha"
)

// A text is what the part says in one language.
type text struct {
	Tag    string // BCP 47, of the language
	spoken string // what the voices speak

	Title     string
	Picture   string // instead of the picture
	Answer    string // labels the field
	HintCode  string
	HintSound string
	Another   string // buttons
	Listen    string
	Slowly    string
	Film      string
	NoScript  string // where work is demanded, and there can be none

	Say map[string]string // what the script says

	wrong, late, used, noWork, again, away string
}

var english = &text{
	Tag: "en", spoken: "en",
	Title:     "Security check",
	Picture:   "Picture with letters and digits to type into the field below. Use Listen if you cannot see it.",
	Answer:    "Characters in the picture",
	HintCode:  "Letters and digits, in capitals or not.",
	HintSound: "Or type the digits that you hear; they differ from the picture.",
	Another:   "New picture",
	Listen:    "Listen",
	Slowly:    "Slowly",
	Film:      "Moving picture",
	NoScript:  "This form needs JavaScript, for a check that your browser does by itself.",
	Say: map[string]string{
		"stop":    "Stop",
		"still":   "Still picture",
		"fresh":   "There is a new picture.",
		"late":    "The picture was too old. There is a new one.",
		"busy":    "Too many requests. Please wait a moment.",
		"away":    "That did not work. Please try again.",
		"mute":    "The sound cannot be played.",
		"working": "Your browser is working on a check. This takes a moment.",
		"worked":  "The check is done.",
		"instead": "The check did not work. Please use the picture.",
		"playing": "Playing.",
		"ended":   "End of the recording.",
		"film":    "The letters show while the dots move.",
	},
	wrong:  "That is not what the picture says. Please try this new one.",
	late:   "The picture was too old. Please try this new one.",
	used:   "That picture had been used before. Please try this new one.",
	noWork: "The check by your browser is missing. Please turn JavaScript on and try again.",
	again:  "Another check is needed. Please send the form once more.",
	away:   "We could not check that just now. Please try again in a moment.",
}

var chinese = &text{
	Tag: "zh-Hans", spoken: "zh",
	Title:     "安全验证",
	Picture:   "验证码图片，请将其中的字母和数字填入下面的输入框。看不清图片时，请使用“语音”。",
	Answer:    "图片中的字符",
	HintCode:  "由字母和数字组成，不区分大小写。",
	HintSound: "也可以填写语音中的数字，语音与图片的内容不同。",
	Another:   "换一张",
	Listen:    "语音",
	Slowly:    "慢速语音",
	Film:      "动态图片",
	NoScript:  "提交此表单需要启用 JavaScript，以便浏览器自动完成验证。",
	Say: map[string]string{
		"stop":    "停止",
		"still":   "静态图片",
		"fresh":   "已更换图片。",
		"late":    "图片已过期，已为您更换。",
		"busy":    "请求过于频繁，请稍候。",
		"away":    "操作未成功，请重试。",
		"mute":    "无法播放语音。",
		"working": "浏览器正在自动验证，请稍候。",
		"worked":  "验证已完成。",
		"instead": "自动验证未成功，请使用图片验证码。",
		"playing": "正在播放。",
		"ended":   "播放结束。",
		"film":    "圆点移动时可以看到字符。",
	},
	wrong:  "输入的内容与图片不符，请输入新图片中的字符。",
	late:   "图片已过期，请输入新图片中的字符。",
	used:   "该图片已被使用过，请输入新图片中的字符。",
	noWork: "缺少浏览器的自动验证结果，请启用 JavaScript 后重试。",
	again:  "需要再次验证，请重新提交。",
	away:   "暂时无法验证，请稍后重试。",
}

// textFor returns the text for a language, by its primary subtag.
func textFor(tag string) *text {
	primary, _, _ := strings.Cut(strings.ReplaceAll(tag, "_", "-"), "-")
	if strings.EqualFold(primary, "zh") {
		return chinese
	}
	return english
}

// explain says what became of the attempt before, as far as it is the visitor's
// affair.
func (t *text) explain(err error) string {
	switch {
	case err == nil, errors.Is(err, ErrNew):
		return ""
	case errors.Is(err, captcha.ErrStore):
		return t.away
	case err == ErrWork: //nolint:errorlint // not with another inside
		return t.noWork
	case errors.Is(err, ErrWork):
		return t.again
	case errors.Is(err, captcha.ErrWrong):
		return t.wrong
	case errors.Is(err, captcha.ErrSpent):
		return t.used
	case errors.Is(err, captcha.ErrUnknown), errors.Is(err, captcha.ErrExpired):
		return t.late
	default:
		return t.away
	}
}
