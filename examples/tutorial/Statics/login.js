"use strict";

// Another picture without another page. Without this script the link loads the
// page again, which does the same.
const link = document.getElementById("another");
const code = document.getElementById("code");

function another() {
  for (const [selector, name] of [["source", "srcset"], ["img", "src"]]) {
    const element = link.querySelector(selector);
    const address = new URL(element.getAttribute(name), location.href);
    address.searchParams.set("n", Date.now());
    element.setAttribute(name, address.pathname + address.search);
  }
  code.value = "";
}

link.setAttribute("role", "button");
link.addEventListener("click", (event) => {
  event.preventDefault();
  another();
  code.focus();
});
link.addEventListener("keydown", (event) => {
  if (event.key === " ") {
    event.preventDefault();
    link.click();
  }
});

// A page that comes back from the browser's memory shows a picture whose code
// may be used up.
addEventListener("pageshow", (event) => {
  if (event.persisted) another();
});
