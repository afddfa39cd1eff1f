// Passkeys on a page: an element with the attribute data-passkeys has the settings,
// a button, and a place for what is to be said. It appears where they can be used.

async function begin(root) {
  const settings = JSON.parse(root.dataset.passkeys);
  const { say } = settings;
  const passkey = await import(settings.module);
  if (!passkey.supported()) return;
  const button = root.querySelector("button");
  const status = root.querySelector("[role=status]");
  const making = "make" in root.dataset;

  // send posts JSON, and returns what is answered. What goes wrong is thrown, in
  // words for people.
  async function send(address, body) {
    let response;
    try {
      response = await fetch(address, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          "X-Csrf-Token": document.querySelector("meta[name=csrf-token]").content,
        },
        body: JSON.stringify(body ?? {}),
      });
    } catch {
      throw new Told(say.away);
    }
    // A page instead of JSON: somebody has to sign in, or confirm, first.
    if (response.redirected) {
      location.assign(response.url);
      throw new Told("");
    }
    const answer = await response.json().catch(() => ({ error: say.away }));
    if (!response.ok) throw Object.assign(new Told(answer.error ?? say.away), { gone: response.status === 410 });
    return answer;
  }

  class Told extends Error {}

  let finishing = false; // somebody has used one: there is nothing more to ask
  async function run(how) {
    let options, response;
    try {
      options = await send(settings.options);
      if (finishing) return;
      response = making ? await passkey.create(options) : await passkey.get(options, how);
      if (finishing) return;
      finishing = button.disabled = true;
      const { location: to } = await send(settings.finish, {
        response,
        next: settings.next,
        label: root.querySelector("[name=label]")?.value,
      });
      location.assign(to);
    } catch (error) {
      if (response) finishing = button.disabled = false;
      if (error.name === "AbortError") return; // something else took its place
      if (error.gone) passkey.unknown(options, response).catch(() => {});
      if (error instanceof Told) status.textContent = error.message;
      else if (error.name === "InvalidStateError") status.textContent = say.there;
      else if (error.name === "NotAllowedError") status.textContent = say.refused;
      else status.textContent = say.failed;
      if (settings.fill && !how?.conditional) fill();
    }
  }

  // Where names are filled in, browsers offer passkeys. What they are offered for is
  // good for five minutes, so it is asked for again before.
  let timer;
  async function fill() {
    clearTimeout(timer);
    if (!(await passkey.conditional())) return;
    timer = setTimeout(fill, 4 * 60 * 1000);
    run({ conditional: true });
  }

  button.addEventListener("click", () => {
    clearTimeout(timer);
    status.textContent = "";
    run();
  });
  root.hidden = false;
  if (settings.fill) fill();
}

document.querySelectorAll("[data-passkeys]").forEach(begin);
