// The browser's part of package passkey: options and responses are the JSON of
// https://www.w3.org/TR/webauthn-3/, sections 5.1.7 to 5.1.9.

// supported says whether this page can use passkeys at all.
export function supported() {
  return Boolean(globalThis.PublicKeyCredential && globalThis.navigator?.credentials);
}

// conditional says whether the browser offers passkeys where names are filled in.
export async function conditional() {
  return supported() && Boolean(await PublicKeyCredential.isConditionalMediationAvailable?.());
}

// create makes a passkey, and returns what the server wants to know of it.
export function create(options, { signal } = {}) {
  return run(signal, (signal) => navigator.credentials.create({ publicKey: creation(options), signal }));
}

// get asks for a passkey, and returns what proves it. If it is to be conditional, the
// browser shows nothing until somebody chooses one in a form.
export function get(options, { conditional = false, signal } = {}) {
  const mediation = conditional ? { mediation: "conditional" } : {};
  return run(signal, (signal) => navigator.credentials.get({ publicKey: request(options), signal, ...mediation }));
}

// unknown tells the browser that the server no longer knows the passkey of a response,
// so that it is not offered again. Browsers that cannot be told do nothing.
export async function unknown({ rpId }, { id }) {
  await PublicKeyCredential.signalUnknownCredential?.({ rpId, credentialId: id });
}

// A browser has one request at a time, and autofill is one that may wait for ever: what
// comes later takes its place.
let waiting;

async function run(signal, ask) {
  signal?.throwIfAborted();
  waiting?.abort();
  const mine = (waiting = new AbortController());
  const abort = () => mine.abort(signal.reason);
  signal?.addEventListener("abort", abort);
  try {
    return encode(await ask(mine.signal));
  } finally {
    signal?.removeEventListener("abort", abort);
    if (waiting === mine) {
      waiting = undefined;
    }
  }
}

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join(""))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
const descriptors = (list) => list?.map((c) => ({ ...c, id: bytes(c.id) }));

function creation(options) {
  return (
    PublicKeyCredential.parseCreationOptionsFromJSON?.(options) ?? {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: descriptors(options.excludeCredentials),
    }
  );
}

function request(options) {
  return (
    PublicKeyCredential.parseRequestOptionsFromJSON?.(options) ?? {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: descriptors(options.allowCredentials),
    }
  );
}

function encode(credential) {
  try {
    return credential.toJSON();
  } catch {
    // An old browser has none, and the objects of some password managers have one
    // that throws.
  }
  const { id, rawId, type, authenticatorAttachment, response } = credential;
  const fields = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) {
      fields[name] = text(response[name]);
    }
  }
  if (response.attestationObject) {
    fields.transports = response.getTransports?.() ?? [];
  }
  return {
    id,
    rawId: text(rawId),
    type,
    authenticatorAttachment: authenticatorAttachment ?? undefined,
    clientExtensionResults: {},
    response: fields,
  };
}
