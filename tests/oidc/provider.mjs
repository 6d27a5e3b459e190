// A real OpenID provider for the tests: `node provider.mjs PORT REDIRECT_URI KEYS.json` on loopback, people in memory.
// Prints one line when it answers. Its own login page takes any password.
import { readFileSync } from "node:fs";
import { Provider } from "oidc-provider";

const [port, redirectUri, keysFile] = process.argv.slice(2);
const people = {
  olga: { groups: ["fleet-ops", "staff"], preferred_username: "olga@example.org" },
  anna: { groups: ["fleet-admins"], preferred_username: "admin" }, // a name that a local operator has
  nils: { groups: ["staff"], preferred_username: "nils" },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "tidegate", client_secret: "provider-secret:with/odd+signs", redirect_uris: [redirectUri] }],
  jwks: JSON.parse(readFileSync(keysFile, "utf8")),
  cookies: { keys: ["only-for-tests"] },
  scopes: ["openid", "profile", "groups"],
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  conformIdTokenClaims: process.env.CLAIMS !== "id_token", // true: groups come from the userinfo address
  pkce: { required: () => true },
  findAccount: (_context, sub) => ({
    accountId: sub,
    claims: () => ({ sub, ...(people[sub] ?? { groups: [], preferred_username: sub }) }),
  }),
  features: { devInteractions: { enabled: true } },
});

const server = provider.listen(Number(port), "127.0.0.1", () => console.log(`ready ${server.address().port}`));
