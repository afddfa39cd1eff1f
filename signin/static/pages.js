// What pages are easier to use with, and work without: passwords can be shown,
// their length is measured, and codes and links can be copied.

const { show, hide, copy, copied } = document.body.dataset;

for (const input of document.querySelectorAll("input[type=password]")) {
  const box = document.createElement("div");
  const button = document.createElement("button");
  box.className = "secret";
  button.type = "button";
  button.textContent = show;
  button.setAttribute("aria-controls", input.id);
  button.setAttribute("aria-pressed", "false");
  const focused = document.activeElement === input;
  input.before(box);
  box.append(input, button);
  if (focused) input.focus();
  button.addEventListener("click", () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    button.textContent = hidden ? hide : show;
    button.setAttribute("aria-pressed", hidden);
    input.focus();
  });
  // Not sent as text, which browsers would offer to others later.
  input.form?.addEventListener("submit", () => (input.type = "password"));

  if ("meter" in input.dataset) {
    const meter = document.createElement("progress");
    meter.className = "strength";
    meter.max = 1;
    meter.value = 0;
    meter.setAttribute("aria-hidden", "true"); // the hint says it in words
    box.after(meter);
    input.addEventListener("input", () => {
      const different = new Set(input.value).size;
      meter.value = Math.min(different / 8, input.value.length / 16, 1);
    });
  }
}

for (const part of document.querySelectorAll("[data-copyable]")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = copy;
  part.after(button);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText([...part.querySelectorAll("code")].map((code) => code.textContent).join("\n"));
    button.textContent = copied;
  });
}
