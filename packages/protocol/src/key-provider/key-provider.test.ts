import { createHash } from 'node:crypto';
import {
  InvalidArgumentError,
  MalformedError,
  openSecret,
  Secret,
  toBase64,
  UnavailableError,
} from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectors } from '../../../sev/src/testing/vectors.js';
import { resourcePathText } from '../rcar/resource-path.js';
import { annotationPacketBytes, parseAnnotationPacket } from './annotation-packet.js';
import { parseKeyId } from './key-id.js';
import { keyProvider, type LayerKeys } from './key-provider.js';
import { parseKeyProviderRequest } from './messages.js';
import { parseKeyProviderParameters } from './parameters.js';
import { LayerKeyError, unwrapLayerOptions, wrapLayerOptions } from './wrapping.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const base64 = (text: string) => toBase64(utf8(text));
const read = (name: string) => new TextDecoder().decode(vectors(`kbs/${name}`));
const sha256 = (text: string) => new Uint8Array(createHash('sha256').update(text).digest());
const keyId = parseKeyId('kbs:///default/key/1');
const keysOf = (key: Uint8Array): LayerKeys => ({
  keyToUnwrap: async () => Secret.copyOf(key),
  keyToWrap: async ({ keyId: named }) => ({ keyId: named ?? keyId, key: Secret.copyOf(key) }),
});
const wrapRequest = (options: unknown, parameter = 'Enabled') =>
  utf8(
    JSON.stringify({
      op: 'keywrap',
      keywrapparams: {
        ec: { Parameters: { anyone: [base64(parameter)] }, DecryptConfig: { Parameters: {} } },
        optsdata: options,
      },
      keyunwrapparams: { dc: null, annotation: null },
    }),
  );
const unwrapRequest = (annotation: unknown) =>
  utf8(
    JSON.stringify({
      op: 'keyunwrap',
      keywrapparams: { ec: null, optsdata: null },
      keyunwrapparams: { dc: { Parameters: { anyone: [base64('any')] } }, annotation },
    }),
  );
const answerOf = (bytes: Uint8Array) =>
  JSON.parse(new TextDecoder().decode(bytes)) as {
    keywrapresults?: { annotation: number[] };
    keyunwrapresults?: { optsdata: number[] };
  };

describeWithVectors('the calls that skopeo 1.18 made', () => {
  const calls = () => {
    const lines = read('image/oci-encrypted/transcript.log').trim().split('\n');
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]),
    );
  };

  it('are answered: its packet opens under the key of the transcript, and gives its options', async () => {
    const provider = keyProvider(keysOf(sha256('kek')));
    const answer = answerOf(await provider.answer(utf8(calls()['UNWRAP-IN']!), 'unwrap'));
    const options = new TextDecoder().decode(Uint8Array.from(answer.keyunwrapresults!.optsdata));
    expect(options).toBe(calls()['WRAP-OPTS']);
    const theirs = JSON.parse(calls()['UNWRAP-OUT']!) as { keyunwrapresults: { optsdata: string } };
    expect(toBase64(utf8(options))).toBe(theirs.keyunwrapresults.optsdata);
  });

  it('give a packet that opens again, under the key id that the user named', async () => {
    const named: string[] = [];
    const keys: LayerKeys = {
      ...keysOf(sha256('kek')),
      keyToUnwrap: async (id) => {
        named.push(resourcePathText(parseKeyId(id)));
        return Secret.take(sha256('kek'));
      },
    };
    const provider = keyProvider(keys);
    const wrapped = answerOf(await provider.answer(utf8(calls()['WRAP-IN']!), 'wrap'));
    const { annotation } = wrapped.keywrapresults!;
    expect(JSON.parse(new TextDecoder().decode(Uint8Array.from(annotation)))).toMatchObject({
      kid: 'kbs:///default/key/1',
      wrap_type: 'A256GCM',
    });
    const unwrapped = answerOf(await provider.answer(unwrapRequest(annotation)));
    expect(new TextDecoder().decode(Uint8Array.from(unwrapped.keyunwrapresults!.optsdata))).toBe(
      calls()['WRAP-OPTS'],
    );
    expect(named).toEqual(['default/key/1']);
  });

  it('read the packet that guest-components keep as their sample', () => {
    const packet = parseAnnotationPacket(utf8(read('image/annotation-packet-sample-kbc.json')));
    expect(resourcePathText(parseKeyId(packet.kid))).toBe('default/key/1');
    expect([packet.iv.length, packet.provider]).toEqual([12, undefined]);
  });
});

describe('a packet', () => {
  const key = Secret.take(sha256('kek'));

  it('gives back what was wrapped, in both versions, from base64 and from lists of numbers', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.constantFrom(1 as const, 2 as const),
        fc.boolean(),
        async (options, packetVersion, asList) => {
          const provider = keyProvider(keysOf(sha256('kek')), { packetVersion });
          const form = (bytes: Uint8Array) => (asList ? [...bytes] : toBase64(bytes));
          const { keywrapresults } = answerOf(await provider.answer(wrapRequest(form(options))));
          const packet = Uint8Array.from(keywrapresults!.annotation);
          expect('version' in parseAnnotationPacket(packet)).toBe(packetVersion === 2);
          const { keyunwrapresults } = answerOf(await provider.answer(unwrapRequest(form(packet))));
          expect(keyunwrapresults!.optsdata).toEqual([...options]);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('does not open once a bit of it was changed, or under another key', async () => {
    const packet = await wrapLayerOptions({ key, keyId, layerOptions: Secret.take(utf8('options')) });
    await expect(unwrapLayerOptions(packet, Secret.take(sha256('another')))).rejects.toThrow(LayerKeyError);
    for (const name of ['iv', 'wrapped_data'] as const) {
      for (let bit = 0; bit < 8 * packet[name].length; bit += 5) {
        const altered = packet[name].slice();
        altered[bit >> 3]! ^= 1 << (bit & 7);
        await expect(unwrapLayerOptions({ ...packet, [name]: altered }, key)).rejects.toThrow(LayerKeyError);
      }
    }
    const opened = await unwrapLayerOptions(packet, key);
    expect(new TextDecoder().decode(openSecret(opened))).toBe('options');
  });

  it('has a new IV each time', async () => {
    const once = () => wrapLayerOptions({ key, keyId, layerOptions: Secret.take(utf8('options')) });
    expect((await once()).iv).not.toEqual((await once()).iv);
  });

  it.each([
    [
      'wrapped with a cipher that proves nothing',
      { wrap_type: 'A256CTR', iv: base64('0123456789abcdef') },
      '/iv',
    ],
    ['of CTR with an IV of 12 bytes', { wrap_type: 'A256CTR' }, '/wrap_type'],
    ['of another version', { version: '0.2.0' }, '/version'],
    ['of another service', { provider: 'aliyun' }, '/provider'],
    ['shorter than a tag', { wrapped_data: base64('fifteen bytes..') }, '/wrapped_data'],
    ['without a key id', { kid: '' }, '/kid'],
  ])('%s is refused', (_what, change, field) => {
    const packet = {
      kid: 'kbs:///default/key/1',
      wrapped_data: base64('sixteen bytes...'),
      iv: base64('twelve bytes'),
      wrap_type: 'A256GCM',
    };
    expect(parseAnnotationPacket(utf8(JSON.stringify(packet))).kid).toBe(packet.kid);
    const altered = utf8(JSON.stringify({ ...packet, ...change }));
    expect(() => parseAnnotationPacket(altered)).toThrow(
      expect.objectContaining({ code: 'malformed', field }),
    );
  });

  it('with a member twice is refused', () => {
    const twice = '{"kid":"kbs:///a/b/c","kid":"kbs:///d/e/f"}';
    expect(() => parseAnnotationPacket(utf8(twice))).toThrow(MalformedError);
  });

  it('is written as it is read', async () => {
    for (const version of [1, 2] as const) {
      const layerOptions = Secret.take(utf8('options'));
      const packet = await wrapLayerOptions({ key, keyId, layerOptions, version });
      expect(parseAnnotationPacket(annotationPacketBytes(packet))).toEqual(packet);
    }
  });
});

describe('a key id', () => {
  it.each(['kbs:///a/b/c', 'kbs://broker.example:8080/a/b/c', 'kbs://[::1]:8080/a/b/c', '/a/b/c'])(
    'written %s is a/b/c',
    (text) => expect(resourcePathText(parseKeyId(text))).toBe('a/b/c'),
  );
  it.each([
    'kbs:///kbs:///a/b/c',
    'kbs+pkcs11:///a/b/c',
    'a/b/c',
    '//a/b/c',
    'kbs:///a/b',
    'kbs:///a/b/c/d',
    'kbs:///a/../c',
    'kbs:///a/b%2f/c',
    'kbs://user@host/a/b/c',
    'kbs:///a/b/c?x=1',
    'https:///a/b/c',
    '',
  ])('written %j is refused', (text) => expect(() => parseKeyId(text)).toThrow(MalformedError));
});

describe('parameters', () => {
  it.each(['Enabled', 'any', ''])('%j say nothing', (text) =>
    expect(parseKeyProviderParameters([text])).toEqual({}),
  );
  it('name a key and a file', () => {
    const text = 'keyid=kbs:///default/key/1::keypath=/tmp/a=b::algorithm=A256GCM::sample=false';
    expect(parseKeyProviderParameters([text])).toEqual({ keyId, keyPath: '/tmp/a=b' });
  });
  it.each([
    ['algorithm=A256CTR', 'algorithm'],
    ['sample=true', 'sample'],
    ['keyid=kbs:///a/b/c::keyid=kbs:///a/b/d', 'keyid'],
    ['keyId=kbs:///a/b/c', 'key provider parameters'],
  ])('%s are refused', (text, argument) =>
    expect(() => parseKeyProviderParameters([text])).toThrow(expect.objectContaining({ argument })),
  );
});

describe('a request', () => {
  const good = wrapRequest(base64('options'));
  it.each<[string, Uint8Array]>([
    ['that is not JSON', utf8('{')],
    ['for another operation', utf8('{"op":"keydelete"}')],
    ['without its options', utf8('{"op":"keywrap","keywrapparams":{"ec":null,"optsdata":null}}')],
    ['with bytes that are none', wrapRequest([256])],
    ['with base64 that is none', wrapRequest('AAA')],
    ['with nothing to wrap', wrapRequest([])],
    ['that is too long', utf8(`{"op":"keywrap"${' '.repeat(512 * 1024)}}`)],
  ])('%s is refused', (_what, request) => {
    expect(parseKeyProviderRequest(good).operation).toBe('wrap');
    expect(() => parseKeyProviderRequest(request)).toThrow(MalformedError);
  });

  it('that is not text is refused as that', () => {
    const request = good.slice();
    request[request.length >> 1] = 0xff;
    expect(() => parseKeyProviderRequest(request)).toThrow('text in UTF-8');
  });

  it('does not go to the other method, nor to a provider that only does the other', async () => {
    const key = sha256('kek');
    await expect(keyProvider(keysOf(key)).answer(good, 'unwrap')).rejects.toThrow(UnavailableError);
    await expect(keyProvider({}).answer(good)).rejects.toThrow(/does not wrap/);
    const packet = await wrapLayerOptions({
      key: Secret.copyOf(key),
      keyId,
      layerOptions: Secret.take(utf8('options')),
    });
    const unwrap = unwrapRequest([...annotationPacketBytes(packet)]);
    await expect(keyProvider({}).answer(unwrap)).rejects.toThrow(/does not unwrap/);
  });

  it('leaves no key behind, neither when it succeeds nor when it fails', async () => {
    const given: Secret[] = [];
    const keyOf = (size: number) => {
      const key = Secret.take(new Uint8Array(size).fill(7));
      given.push(key);
      return key;
    };
    const provider = (size: number) =>
      keyProvider({
        keyToWrap: async () => ({ keyId, key: keyOf(size) }),
        keyToUnwrap: async () => keyOf(size),
      });
    await provider(32).answer(good);
    await expect(provider(31).answer(good)).rejects.toThrow(InvalidArgumentError);
    const { keywrapresults } = answerOf(await keyProvider(keysOf(sha256('x'))).answer(good));
    await expect(provider(32).answer(unwrapRequest(keywrapresults!.annotation))).rejects.toThrow(
      LayerKeyError,
    );
    expect(given.map(({ isZeroed }) => isZeroed)).toEqual([true, true, true]);
  });
});
