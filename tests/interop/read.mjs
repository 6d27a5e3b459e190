// tuf-js as a reader of our repository: one question a line on standard input, one answer a line on standard output.
import { canonicalize } from '@tufjs/canonical-json';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Updater } from 'tuf-js';

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

async function read({ folder, url, root, paths }) {
  const metadataDir = `${folder}/metadata`;
  const targetDir = `${folder}/targets`;
  mkdirSync(metadataDir, { recursive: true });
  mkdirSync(targetDir, { recursive: true });
  try {
    writeFileSync(`${metadataDir}/root.json`, root, { flag: 'wx' });
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const config = { fetchRetry: false, fetchTimeout: 10000 };
  const updater = new Updater({
    metadataDir, targetDir, metadataBaseUrl: `${url}/metadata`, targetBaseUrl: `${url}/targets`, config,
  });
  const digests = [];
  for (const path of paths) {
    const target = await updater.getTargetInfo(path);
    if (!target) throw new Error(`no target ${path}`);
    const file = (await updater.findCachedTarget(target)) ?? (await updater.downloadTarget(target));
    digests.push(sha256(readFileSync(file)));
  }
  return { digests };
}

// Key ids are the hash of the canonical key, and signatures are over the canonical form, both computed here.
function strict({ documents, keys }) {
  const wrong = [];
  const publicKeys = {};
  for (const [keyid, key] of Object.entries(keys)) {
    if (sha256(canonicalize(key)) !== keyid) wrong.push(`key id ${keyid}`);
    const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key.keyval.public, 'hex')]);
    publicKeys[keyid] = createPublicKey({ key: der, format: 'der', type: 'spki' });
  }
  for (const [name, text] of Object.entries(documents)) {
    const { signatures, signed } = JSON.parse(text);
    const good = signatures.filter(({ keyid, sig }) =>
      publicKeys[keyid] && verify(null, Buffer.from(canonicalize(signed)), publicKeys[keyid], Buffer.from(sig, 'hex')));
    if (signatures.length === 0 || good.length !== signatures.length) wrong.push(`signatures of ${name}`);
  }
  return { wrong };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { what, ...asked } = JSON.parse(line);
  let answer;
  try {
    answer = what === 'strict' ? strict(asked) : await read(asked);
  } catch (error) {
    answer = { refused: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
