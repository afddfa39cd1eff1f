// Solves challenges of package pow: ALTCHA's proof of work, version 2, with
// PBKDF2 and SHA-256. This file is the module that pages import, and also what
// its workers run: one address, one content.

const NAME = "gatehouse-pow"; // of the workers, and of the policy for them
const MOST_WORKERS = 8; // there is no gain in more, only heat
const REPORT = 100; // milliseconds between a worker's reports
const STEP = 8; // milliseconds that work in the page takes at a stretch

// address is this module's, as a page wants it that demands Trusted Types for the
// scripts of workers (https://www.w3.org/TR/trusted-types/). Its policy may have to
// allow the name.
let address;
function worker() {
  address ??= globalThis.trustedTypes
    ? trustedTypes.createPolicy(NAME, { createScriptURL: (url) => url }).createScriptURL(import.meta.url)
    : import.meta.url;
  return new Worker(address, { type: "module", name: NAME });
}

// solve does the work that a challenge asks for, and returns the payload for
// the form's field "altcha". The challenge is its address or, if the page has
// it already, the object itself.
//
//   signal    an AbortSignal: cancels, and solve throws the signal's reason
//   progress  is called with the number of counters that were tried so far and
//             the greatest number that can be needed, if that is known; on the
//             average it takes half
//   workers   how many at the most; 0 to work in the page
//
// It throws if there is no challenge to be had, if the challenge is of another
// kind, and where the browser has no WebCrypto because the page came neither by
// HTTPS nor from localhost.
export async function solve(challenge, { signal, progress, workers = MOST_WORKERS } = {}) {
  signal?.throwIfAborted();
  if (!globalThis.crypto?.subtle) {
    throw new Error("pow: WebCrypto is for pages that come by HTTPS");
  }
  if (typeof challenge === "string") {
    const response = await fetch(challenge, { signal });
    if (!response.ok) {
      throw new Error(`pow: no challenge: status ${response.status}`);
    }
    challenge = await response.json();
  }
  const { parameters, signature } = challenge;
  if (parameters.algorithm !== "PBKDF2/SHA-256") {
    throw new Error(`pow: cannot do ${parameters.algorithm}`);
  }
  const report = (tried) => progress?.(tried, parameters.data?.tries);
  const crew = Math.min(workers, MOST_WORKERS, navigator.hardwareConcurrency || 1);
  const solution =
    (crew > 0 && (await inWorkers(parameters, crew, signal, report))) ||
    (await inPage(parameters, signal, report));
  return btoa(JSON.stringify({ challenge: { parameters, signature }, solution }));
}

// inWorkers divides the counters among so many workers. It returns null if they
// cannot work: a policy forbids them, or the browser knows no modules in them.
function inWorkers(parameters, crew, signal, report) {
  return new Promise((resolve, reject) => {
    const team = [];
    const tried = new Array(crew).fill(0);
    const end = (settle, value) => {
      signal?.removeEventListener("abort", abort);
      team.splice(0).forEach((worker) => worker.terminate());
      settle(value);
    };
    const abort = () => end(reject, signal.reason);
    signal?.addEventListener("abort", abort);
    try {
      for (let i = 0; i < crew; i++) {
        const one = worker();
        team.push(one);
        one.onerror = (event) => {
          event.preventDefault();
          end(resolve, null);
        };
        one.onmessage = ({ data }) => {
          if ("solution" in data) {
            end(resolve, data.solution);
            return;
          }
          tried[i] = data.tried;
          report(tried.reduce((a, b) => a + b));
        };
        one.postMessage({ parameters, first: i, step: crew });
      }
    } catch {
      end(resolve, null);
    }
  });
}

// inPage works in small steps, between which the page lives on.
function inPage(parameters, signal, report) {
  let reported = performance.now();
  return search(parameters, 0, 1, STEP, async (tried) => {
    if (performance.now() - reported >= REPORT) {
      reported = performance.now();
      report(tried);
    }
    await new Promise((resume) => setTimeout(resume));
    signal?.throwIfAborted();
  });
}

// search tries every step-th counter, and pauses every so many milliseconds.
async function search(parameters, first, step, every, pause) {
  const { cost, keyLength } = parameters;
  const [nonce, salt, prefix] = ["nonce", "salt", "keyPrefix"].map((name) => bytes(parameters[name]));
  const password = new Uint8Array(nonce.length + 4);
  password.set(nonce);
  const counter = new DataView(password.buffer, nonce.length);
  let paused = performance.now();
  for (let n = first; n < 2 ** 32; n += step) {
    counter.setUint32(0, n);
    const base = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const key = new Uint8Array(
      await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations: cost }, base, 8 * keyLength),
    );
    if (prefix.every((b, i) => b === key[i])) {
      return { counter: n, derivedKey: Array.from(key, (b) => b.toString(16).padStart(2, "0")).join("") };
    }
    if (performance.now() - paused >= every) {
      await pause((n - first) / step + 1);
      paused = performance.now();
    }
  }
  throw new Error("pow: the challenge has no solution");
}

const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));

// In a worker of ours, and not in one that imports the module for itself:
if (typeof document === "undefined" && self.name === NAME) {
  self.onmessage = async ({ data: { parameters, first, step } }) => {
    // What goes wrong here goes wrong in the page as well, and is thrown there.
    const solution = await search(parameters, first, step, REPORT, (tried) => self.postMessage({ tried })).catch(() => null);
    self.postMessage({ solution });
  };
}
