// The script of a page's captcha: see package form. Each element with the
// attribute data-captcha is one part; its buttons appear when this runs.

// A challenge is exchanged this long before it ends, in milliseconds.
const MARGIN = 2000;

const dark = matchMedia("(prefers-color-scheme: dark)");

function begin(root) {
  const settings = JSON.parse(root.dataset.captcha);
  const { prefix, say } = settings;
  const find = (selector) => root.querySelector(selector);
  const form = root.closest("form");
  const id = find("[name=captcha_id]");
  const answer = find(".captcha-answer");
  const view = find(".captcha-view");
  const still = view.firstElementChild; // <picture>
  const image = still.querySelector("img");
  const tell = (words) => (find(".captcha-status").textContent = words ?? "");
  const address = (ending) => `${prefix}${id.value}.${ending}`;

  // ---- pictures

  const film = find(".captcha-play");
  const filmName = film?.textContent;

  let ends; // when the challenge does, by this machine's clock
  const over = () => Date.now() >= ends;
  function expectEnd(seconds) {
    ends = Date.now() + Math.max(seconds * 1000 - MARGIN, MARGIN);
    setTimeout(exchangeOld, ends - Date.now());
  }

  // exchangeOld exchanges a challenge that is over, if the visitor is about to
  // answer it: a page that lies about asks for nothing.
  async function exchangeOld() {
    if (!over() || exchanging || !root.contains(document.activeElement)) return;
    if (await another(say.late)) answer.focus();
  }
  root.addEventListener("focusin", exchangeOld);

  function showStill() {
    still.querySelector("source").srcset = address("dark.gif");
    image.src = address("gif");
    view.replaceChildren(still);
    if (film) film.textContent = filmName;
  }

  // another exchanges the challenge, and reports whether it could.
  let exchanging = false;
  async function another(words) {
    exchanging = true;
    silence();
    try {
      const response = await fetch(prefix + id.value, { method: "POST" });
      if (!response.ok) {
        tell(response.status === 429 || response.status === 503 ? say.busy : say.away);
        return false;
      }
      const fresh = await response.json();
      id.value = fresh.id;
      answer.value = "";
      showStill();
      expectEnd(fresh.expires_in);
      tell(words);
      return true;
    } catch {
      tell(say.away);
      return false;
    } finally {
      exchanging = false;
    }
  }

  find(".captcha-new")?.addEventListener("click", async () => {
    if (await another(say.fresh)) answer.focus();
  });

  film?.addEventListener("click", () => {
    if (!still.isConnected) {
      showStill();
      tell();
      return;
    }
    const moving = new Image(240, 90);
    moving.className = "captcha-film";
    moving.alt = image.alt;
    moving.onerror = () => {
      showStill();
      tell(say.away);
    };
    moving.src = address(dark.matches ? "film.dark.gif" : "film.gif");
    view.replaceChildren(moving);
    film.textContent = say.still;
    tell(say.film);
  });

  // ---- sound

  let playing; // {audio, button, name}
  function silence() {
    if (!playing) return;
    const { audio, button, name } = playing;
    playing = null;
    audio.pause();
    audio.removeAttribute("src");
    button.textContent = name;
  }

  for (const button of root.querySelectorAll(".captcha-listen")) {
    button.addEventListener("click", async () => {
      const stop = playing?.button === button;
      silence();
      if (stop) {
        tell();
        return;
      }
      const audio = new Audio(address(button.dataset.ending));
      const mine = { audio, button, name: button.textContent };
      playing = mine;
      button.textContent = say.stop;
      audio.onended = () => {
        if (playing === mine) {
          silence();
          tell(say.ended);
          answer.focus();
        }
      };
      try {
        await audio.play();
        if (playing === mine) tell(say.playing);
      } catch {
        if (playing === mine) {
          silence();
          tell(say.mute);
        }
      }
    });
  }

  // ---- work

  const code = find(".captcha-code");
  function showCode(shown) {
    code.hidden = find(".captcha-title").hidden = !shown;
    answer.disabled = !shown; // else nobody could send the form
  }

  if (settings.challenge) {
    const field = find("[name=captcha_work]");
    const progress = find(".captcha-progress");
    let challenge = settings.challenge;
    let state = "idle"; // then "working", and "done" or "failed"
    let sender; // of the form, when it has to wait: null for none of its buttons
    let sent = false; // the challenge is spent
    let timer; // of the solution's end

    const work = async () => {
      if (state !== "idle") return;
      state = "working";
      try {
        const { solve } = await import(settings.solver);
        const left = challenge.parameters.expiresAt * 1000 - Date.now();
        if (sent || left < MARGIN) await renew();
        field.value = await solve(challenge, {
          progress: (tried, most) => (progress.value = Math.min(tried / most, 1)),
        });
        state = "done";
        if (sender !== undefined) tell(say.worked);
        timer = setTimeout(stale, Math.max(challenge.parameters.expiresAt * 1000 - Date.now() - MARGIN, MARGIN));
      } catch {
        state = "failed";
        if (settings.unseen) {
          showCode(true);
          tell(say.instead);
          answer.focus();
        } else {
          tell(say.away);
          state = "idle";
        }
      }
      progress.hidden = true;
      if (state === "done" && sender !== undefined) {
        const by = sender;
        sender = undefined;
        form.requestSubmit(by);
      } else {
        sender = undefined;
      }
    };
    const renew = async () => {
      const response = await fetch(prefix + "work", { method: "POST", body: JSON.stringify(challenge) });
      if (!response.ok) throw new Error(`captcha: no more work: status ${response.status}`);
      challenge = await response.json();
      sent = false;
    };
    const stale = () => {
      clearTimeout(timer);
      field.value = "";
      state = "idle";
    };

    if (settings.unseen) {
      const error = find(".captcha-error");
      if (!error || settings.worked) showCode(false);
      if (error && settings.worked) tell(error.textContent); // beside the picture, nobody sees it
    }
    // Who only looks at the page is not made to work.
    form.addEventListener("focusin", work, { once: true });
    form.addEventListener(
      "submit",
      (event) => {
        if (state === "done" || state === "failed") return;
        event.preventDefault();
        event.stopImmediatePropagation();
        sender = event.submitter;
        progress.hidden = false;
        tell(say.working);
        work();
      },
      true,
    );
    addEventListener("pageshow", (event) => {
      if (!event.persisted) return;
      sent = true;
      if (state === "done") stale();
    });
  }

  // A page that comes back has been sent, and its challenge is spent.
  addEventListener("pageshow", (event) => event.persisted && another());

  form.addEventListener(
    "submit",
    (event) => {
      if (code.hidden || !over()) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      answer.focus();
      exchangeOld();
    },
    true,
  );

  find(".captcha-tools").hidden = false;
  expectEnd(settings.lifetime);
}

document.querySelectorAll("[data-captcha]").forEach(begin);
