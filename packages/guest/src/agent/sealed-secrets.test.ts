import { generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSealedSecretContent, sealedSecretKey, toBase64Url } from '@vouchsafe/protocol';
import { MalformedError, UnavailableError } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectors } from '../../../sev/src/testing/vectors.js';
import {
  base64,
  envelopeOf,
  imageKey,
  resourcesOf,
  sealContent,
  textOf,
  utf8,
} from '../testing/agent-fixture.js';
import { temporaryFolder } from '../testing/temporary.js';
import { SecretAbsentError } from './resources/resources.js';
import { SealedSecretRefusedError, unsealSecret } from './sealed-secrets.js';

const newKey = () => {
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  const { d: _private, ...publicKey } = jwk;
  return { jwk, publicText: JSON.stringify(publicKey) };
};
const { jwk, publicText } = newKey();
const other = newKey();
const kid = 'kbs:///owner/sealing/key';
const vault = {
  version: '0.1.0',
  type: 'vault',
  name: 'kbs:///default/secret/1',
  provider: 'kbs',
  provider_settings: {},
  annotations: {},
};
const resources = resourcesOf({
  'owner/sealing/key': publicText,
  'default/secret/1': 'what the vault has',
  'image/key/1': imageKey,
});
const unseal = async (text: string, keysFolder?: string) =>
  textOf(await unsealSecret(text, { resources, ...(keysFolder === undefined ? {} : { keysFolder }) }));

describe('a sealed secret', () => {
  it('of a vault is the secret that it points to', async () =>
    expect(await unseal(sealContent(vault, jwk, kid))).toBe('what the vault has'));

  it('in an envelope is what the owner’s key opens', async () => {
    const envelope = await envelopeOf('in the envelope', 'kbs:///image/key/1', imageKey);
    expect(await unseal(sealContent(envelope, jwk, kid))).toBe('in the envelope');
  });

  it('with any character changed gives nothing', async () => {
    const text = sealContent(vault, jwk, kid);
    for (let at = 'sealed.'.length; at < text.length; at += 7) {
      if (text[at] === '.') continue;
      const altered = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;
      const error: unknown = await unseal(altered).catch((reason: unknown) => reason);
      const kinds = [SealedSecretRefusedError, MalformedError, SecretAbsentError];
      expect(
        kinds.some((kind) => error instanceof kind),
        `character ${at}: ${String(error)}`,
      ).toBe(true);
    }
  });

  it('whose payload was changed is refused for its signature, before the payload is read', async () => {
    const [head, , signature] = sealContent(vault, jwk, kid).slice('sealed.'.length).split('.');
    const payload = toBase64Url(utf8('not JSON at all'));
    await expect(unseal(`sealed.${head}.${payload}.${signature}`)).rejects.toThrow(SealedSecretRefusedError);
  });

  it('signed with another key, or naming one that this guest does not have, is refused', async () => {
    await expect(unseal(sealContent(vault, other.jwk, kid))).rejects.toThrow(SealedSecretRefusedError);
    await expect(unseal(sealContent(vault, jwk, 'kbs:///attacker/sealing/key'))).rejects.toThrow(
      SecretAbsentError,
    );
  });

  it('with a fake header and signature, as some tools make them, is refused', async () => {
    const payload = toBase64Url(utf8(JSON.stringify(vault)));
    await expect(unseal(`sealed.fakejwsheader.${payload}.fakesignature`)).rejects.toThrow(MalformedError);
    await expect(unseal(`sealed.e30.${payload}.`)).rejects.toThrow(MalformedError);
  });

  it.each<[string, object, string]>([
    ['of another algorithm', { alg: 'none' }, '/alg'],
    ['with a member that has to be heeded', { crit: ['exp'] }, '/crit'],
  ])('with a header %s is refused', async (_what, header, field) => {
    await expect(unseal(sealContent(vault, jwk, kid, header))).rejects.toMatchObject({ field });
  });

  it.each<[string, object, new (...given: never[]) => Error]>([
    ['of another version', { version: '0.2.0' }, MalformedError],
    ['of a provider that this guest does not know', { provider: 'aliyun' }, UnavailableError],
    ['of a kind that does not exist', { type: 'box' }, MalformedError],
    ['that points out of the broker', { name: 'https://attacker.example/x' }, SecretAbsentError],
  ])('%s is refused', async (_what, change, kind) => {
    await expect(unseal(sealContent({ ...vault, ...change }, jwk, kid))).rejects.toThrow(kind);
  });

  it('in an envelope of another key, or changed, does not open', async () => {
    const envelope = await envelopeOf('in the envelope', 'kbs:///image/key/1', new Uint8Array(32));
    await expect(unseal(sealContent(envelope, jwk, kid))).rejects.toThrow(SealedSecretRefusedError);
    const right = await envelopeOf('in the envelope', 'kbs:///image/key/1', imageKey);
    for (const member of ['encrypted_key', 'encrypted_data'] as const) {
      const changed = { ...right, [member]: base64(new Uint8Array(48).fill(7)) };
      await expect(unseal(sealContent(changed, jwk, kid)), member).rejects.toThrow(SealedSecretRefusedError);
      const short = { ...right, [member]: 'AAAA' };
      await expect(unseal(sealContent(short, jwk, kid)), member).rejects.toThrow(MalformedError);
    }
    for (const length of [11, 16]) {
      const iv = base64(new Uint8Array(length));
      await expect(unseal(sealContent({ ...right, iv }, jwk, kid))).rejects.toMatchObject({ field: 'iv' });
      const changed = { ...right, annotations: { iv } };
      await expect(unseal(sealContent(changed, jwk, kid))).rejects.toMatchObject({ field: 'annotations/iv' });
    }
    const without = { ...right, annotations: {} };
    await expect(unseal(sealContent(without, jwk, kid))).rejects.toMatchObject({ field: 'annotations/iv' });
  });
});

describe('a key in the guest’s folder', () => {
  let folder: string;
  beforeEach(() => {
    const outside = temporaryFolder();
    folder = join(outside, 'sealed-secret');
    mkdirSync(folder);
    writeFileSync(join(folder, 'test-key'), publicText);
    writeFileSync(join(outside, 'outside'), publicText);
    symlinkSync(join(outside, 'outside'), join(folder, 'link'));
    writeFileSync(join(folder, 'p384'), JSON.stringify({ kty: 'EC', crv: 'P-384', x: 'AAAA', y: 'AAAA' }));
  });

  it('verifies', async () =>
    expect(await unseal(sealContent(vault, jwk, 'test-key'), folder)).toBe('what the vault has'));

  it.each<[string, new (...given: never[]) => Error]>([
    ['none', SealedSecretRefusedError],
    ['link', SealedSecretRefusedError],
    ['../outside', MalformedError],
    ['/etc/passwd', MalformedError],
    ['..', MalformedError],
    ['p384', MalformedError],
  ])('named %s is none', async (name, kind) => {
    await expect(unseal(sealContent(vault, jwk, name), folder)).rejects.toThrow(kind);
  });
});

describeWithVectors('the samples of sealed secrets', () => {
  const key = jsonVector<JsonWebKey & { kid: string }>('kbs/sealed-secret/test-key.json');

  it.each(['vault-1', 'envelope-1'])(
    '%s is read; signed with the test key it is verified, and then its provider is not known',
    async (name) => {
      const json = vectors(`kbs/sealed-secret/${name}.json`);
      expect(parseSealedSecretContent(json)).toMatchObject({ version: '0.1.0', provider: 'aliyun' });
      const folder = temporaryFolder();
      writeFileSync(join(folder, key.kid), vectors('kbs/sealed-secret/test-key.json'));
      expect(sealedSecretKey.parse(key)).not.toHaveProperty('d');
      const content: unknown = JSON.parse(new TextDecoder().decode(json));
      await expect(unseal(sealContent(content, key, key.kid), folder)).rejects.toThrow(
        /no provider "aliyun"/,
      );
      await expect(unseal(sealContent(content, jwk, key.kid), folder)).rejects.toThrow(
        SealedSecretRefusedError,
      );
    },
  );
});
