// The whole app: what it shows, it asks the API for. Who is not signed in is led to
// the sign-in page, and back here.

async function api(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body) {
    headers["Content-Type"] = "application/json";
    // A token of this session; it changes with each sign-in, so it is asked for anew.
    const { token, header } = await (await fetch("/api/token", { headers })).json();
    headers[header] = token;
  }
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (response.status === 401) {
    location.assign("/auth/login?next=" + encodeURIComponent(location.pathname));
    return new Promise(() => {}); // the page is about to go
  }
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
  return response.json();
}

function show({ name, notes }) {
  document.querySelector("#hello").textContent = `Hello, ${name}.`;
  document.querySelector("#notes").replaceChildren(
    ...notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })),
  );
}

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = document.querySelector("#note");
  show(await api("POST", "/api/notes", { note: input.value }));
  input.value = "";
});

show(await api("GET", "/api/notes"));
