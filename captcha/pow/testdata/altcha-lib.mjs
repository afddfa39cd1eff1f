// Makes altcha-lib.json, challenges and solutions of ALTCHA's own server library:
//
//	npm install altcha-lib@2.8.0
//	node altcha-lib.mjs > altcha-lib.json
//
// and, given the secret in hexadecimal, verifies payloads of package pow with it:
//
//	node altcha-lib.mjs verify 6161… < payloads
import { createHmac, hkdfSync } from "node:crypto";
import { createInterface } from "node:readline";
import { createChallenge, solveChallenge, verifySolution } from "altcha-lib";
import { deriveKey } from "altcha-lib/algorithms/pbkdf2";

const derived = (secret, use, length) =>
  Buffer.from(hkdfSync("sha256", secret, "", "gatehouse pow v1 " + use, length)).toString("hex");
const secrets = (secret) => ({
  hmacSignatureSecret: derived(secret, "challenge", 32),
  hmacKeySignatureSecret: derived(secret, "solution", 32),
});

async function make() {
  const secret = Buffer.alloc(32, "a");
  const purpose = "sign-in";
  const session = "alice";
  const scope = createHmac("sha256", derived(secret, "scope", 32))
    .update(Buffer.from([purpose.length]))
    .update(purpose + session)
    .digest("hex")
    .slice(0, 32);
  const challenges = [];
  const payloads = [];
  const add = async (options) => {
    const challenge = await createChallenge({ algorithm: "PBKDF2/SHA-256", deriveKey, ...options });
    const { counter, derivedKey, time } = await solveChallenge({ challenge, deriveKey });
    challenges.push({ challenge, counter, derivedKey });
    if (options.data?.scope) {
      payloads.push(btoa(JSON.stringify({ challenge, solution: { counter, derivedKey, time } })));
    }
  };
  // As package pow makes them, for five minutes from 2000-01-01.
  for (const [cost, counter] of [[50, 0], [50, 99], [1000, 7]]) {
    const data = { tries: 100, scope, key: derived(secret, "tag", 2) };
    await add({ cost, counter, data, expiresAt: 946684800 + 300, ...secrets(secret) });
  }
  // As others make them.
  await add({ cost: 3, counter: 300, keyLength: 16, keyPrefixLength: 5, data: { a: null, b: "<é>" } });
  await add({ cost: 1, keyPrefix: "00" });
  await add({ cost: 2, keyPrefix: "A7f", keyLength: 64, hmacSignatureSecret: "secret" });
  console.log(JSON.stringify({ source: "altcha-lib 2.8.0, MIT, by altcha-lib.mjs", challenges, payloads }, null, 1));
}

async function verify(secret) {
  for await (const payload of createInterface({ input: process.stdin })) {
    const { challenge, solution } = JSON.parse(atob(payload));
    for (const all of [secrets(secret), { hmacSignatureSecret: secrets(secret).hmacSignatureSecret }]) {
      console.log(Object.keys(all).length, await verifySolution({ challenge, solution, deriveKey, ...all }));
    }
  }
}

await (process.argv[2] === "verify" ? verify(Buffer.from(process.argv[3], "hex")) : make());
