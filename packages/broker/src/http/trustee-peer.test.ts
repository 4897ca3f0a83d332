import { initDataDigest } from '@vouchsafe/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { makeReport, type TestReport } from '../../../sev/src/testing/reports.js';
import { makeBroker, minute, publish, storeSecret, type TestBroker, theSecret } from '../testing/broker.js';
import { believe, teeKeyIn } from '../testing/trustee/relying-party.js';
import {
  type ErrorInformation,
  getResourceWithToken,
  TrusteeClient,
  type TrusteeClientError,
  type TrusteeClientOptions,
} from '../testing/trustee-client.js';

/**
 * Guests that are not ours: the peer knows the wire format from its description alone, and speaks over real HTTP.
 */

const secret = theSecret;
const errorType = (variant: string) => `https://github.com/confidential-containers/kbs/errors/${variant}`;
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

interface Meeting {
  readonly world: TestBroker;
  readonly address: string;
  readonly client: TrusteeClient;
  /** Method, path and status of what the client asked, in order. */
  readonly asked: readonly string[];
}

async function meet(
  options: Partial<TrusteeClientOptions> = {},
  report: TestReport = {},
  prepare: (world: TestBroker) => Promise<unknown> = publish,
): Promise<Meeting> {
  const world = await makeBroker();
  await prepare(world);
  await storeSecret(world);
  const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
  const asked: string[] = [];
  const { endorser } = world.silicon;
  const client = new TrusteeClient({
    address,
    attester: {
      async evidence(reportData) {
        const fields = { vmpl: 0, ...report.fields, reportData };
        return {
          report: await makeReport(endorser.vekKey, { ...report, fields }),
          certificates: [{ type: 'VCEK', der: (await endorser.vek('VCEK')).raw }],
        };
      },
    },
    now: () => world.clock.now,
    async fetch(input, init) {
      const answer = await fetch(input, init);
      const { pathname } = new URL(String(input));
      asked.push(`${init?.method} ${pathname.replace('/kbs/v0', '')} ${answer.status}`);
      return answer;
    },
    ...options,
  });
  onTestFinished(() => world.broker.close());
  return { world, address, client, asked };
}

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => expect.unreachable(),
    (error: unknown) => error as TrusteeClientError,
  );
const handshake = ['POST /auth 200', 'POST /attest 200'];
const resource = 'GET /resource/repo/type/tag';

it.each(['ECDH-ES+A256KW-P256', 'ECDH-ES+A256KW-P521', 'RSA-OAEP-256'] as const)(
  'a guest with a key of the kind %s attests and gets its secret, with a cookie and with a token',
  async (keyKind) => {
    const { world, address, client, asked } = await meet({ keyKind });
    expect(textOf(await client.getResource('repo/type/tag'))).toBe(secret);
    expect(asked).toEqual([`${resource} 401`, ...handshake, `${resource} 200`]);

    const held = await client.getToken();
    expect(asked).toHaveLength(4);
    expect(textOf(await getResourceWithToken(address, 'repo/type/tag', async () => held))).toBe(secret);

    const keys = (await (await fetch(`${address}/.well-known/jwks.json`)).json()) as { keys: [] };
    const now = () => world.clock.now;
    const claims = believe(held.token, { trustedKeys: [keys], now });
    expect(teeKeyIn(claims)).toEqual(client.key.publicJwk);
    expect(() => believe(held.token, { trustedKeys: [{ keys: [] }], now })).toThrow('no trusted key');
  },
);

it('a guest with init-data is believed when HOST_DATA is its digest', async () => {
  const initData = 'version = "0.1.0"\nalgorithm = "sha384"\n\n[data]\n"aa.toml" = \'\'\'\n# é\n\'\'\'\n';
  const hostData = await initDataDigest(initData);
  const { client, world } = await meet({ initData }, { fields: { hostData } });
  expect(textOf(await client.getResource('repo/type/tag'))).toBe(secret);
  const { token } = await client.getToken();
  const [, payload = ''] = token.split('.');
  const evidence = JSON.parse(Buffer.from(payload, 'base64url').toString()).submods.cpu0[
    'ear.veraison.annotated-evidence'
  ];
  expect(evidence.init_data_claims).toMatchObject({ 'aa.toml': {} });
  await world.broker.close();

  const other = await meet({ initData: initData.replace('é', 'e') }, { fields: { hostData } });
  const failed = await failureOf(other.client.getResource('repo/type/tag'));
  expect(failed).toMatchObject({
    failure: 'handshake',
    information: { type: errorType('AttestationError'), detail: expect.stringContaining('report.host-data') },
  });
});

it('a denial ends at once, and is no reason to attest again', async () => {
  const { client, asked } = await meet({}, {}, async () => undefined);
  const failed = await failureOf(client.getResource('repo/type/tag'));
  expect(failed).toMatchObject({
    failure: 'KBS Server Internal Failed',
    information: { type: errorType('PolicyDeny'), detail: expect.stringMatching(/number [0-9-]{19}/) },
  });
  expect(asked).toEqual([`${resource} 401`, ...handshake, `${resource} 403`]);
});

it('an absent resource ends at once', async () => {
  const { client, asked } = await meet();
  const failed = await failureOf(client.getResource('repo/type/other'));
  expect(failed).toMatchObject({ failure: 'resource not found', information: expect.anything() });
  expect(asked).toEqual([
    'GET /resource/repo/type/other 401',
    ...handshake,
    'GET /resource/repo/type/other 404',
  ]);
});

it('evidence that is refused ends at once, with an error object', async () => {
  const { client, asked } = await meet({}, { edit: (bytes) => bytes.fill(0, 0x50, 0x90) });
  const failed = await failureOf(client.getResource('repo/type/tag'));
  expect(failed).toMatchObject({
    failure: 'handshake',
    information: { type: errorType('AttestationError'), detail: expect.stringContaining('number ') },
  });
  expect(asked).toEqual([`${resource} 401`, 'POST /auth 200', 'POST /attest 401']);
});

it('a client that only wants a token tries five times', async () => {
  const pauses: number[] = [];
  const pause = async (milliseconds: number) => void pauses.push(milliseconds);
  const { client, asked } = await meet({ pause }, { edit: (bytes) => bytes.fill(0, 0x50, 0x90) });
  expect((await failureOf(client.getToken())).failure).toBe('handshake');
  expect(asked).toHaveLength(10);
  expect(pauses).toEqual([1000, 1000, 1000, 1000]);
});

it('a session that has ended, and a token that has, lead to a new attestation', async () => {
  const { world, address, client, asked } = await meet();
  await client.getResource('repo/type/tag');
  const first = await client.getToken();
  world.clock.now += 6 * minute;
  expect(textOf(await client.getResource('repo/type/tag'))).toBe(secret);
  expect(asked.slice(4)).toEqual([`${resource} 401`, ...handshake, `${resource} 200`]);

  let given = 0;
  const provider = async () => (given++ === 0 ? first : client.getToken());
  expect(textOf(await getResourceWithToken(address, 'repo/type/tag', provider))).toBe(secret);
  expect(given).toBe(2);
});

it('every answer that is not 200 is an error object', async () => {
  const { address, client } = await meet();
  await client.handshake();
  const cases: [string, string, string | undefined, number, string][] = [
    ['POST', '/auth', '{"version":"0.1.0","tee":"snp","extra-params":""}', 401, 'AttestationError'],
    ['POST', '/auth', '{"version":"0.4.0","tee":"tdx","extra-params":""}', 401, 'AttestationError'],
    ['POST', '/auth', '{"version":"0.4.0","version":"0.4.0","tee":"snp"}', 401, 'AttestationError'],
    ['POST', '/auth', '[]', 401, 'AttestationError'],
    ['POST', '/attest', '{}', 401, 'AttestationError'],
    ['GET', '/resource/repo/type/tag', undefined, 401, 'TokenNotFound'],
    ['GET', '/resource/repo/type', undefined, 404, 'InvalidRequestPath'],
    ['GET', '/resource/repo/..%2ftype/tag', undefined, 404, 'InvalidRequestPath'],
    ['GET', '/no-such-plugin/a/b/c', undefined, 404, 'PluginNotFound'],
    ['PUT', '/auth', undefined, 404, 'PluginNotFound'],
  ];
  for (const [method, path, body, status, variant] of cases) {
    const answer = await fetch(`${address}/kbs/v0${path}`, {
      method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
    });
    const information = (await answer.json()) as ErrorInformation;
    const what = `${method} ${path} ${body ?? ''}`;
    expect([what, answer.status, information.type]).toEqual([what, status, errorType(variant)]);
    expect(information.detail).not.toBe('');
  }
});
