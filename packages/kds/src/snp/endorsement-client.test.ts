import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  developmentEndorsementRules,
  encodePem,
  encodeRevocationList,
  generateP384,
  parseCertificate,
  parseRevocationList,
  parseSnpReport,
  UnavailableError,
} from '@vouchsafe/sev';
import { describe, expect, onTestFinished, test } from 'vitest';
import { describeWithVectors, vectors } from '../../../sev/src/testing/vectors.js';
import { signPss } from '../authority-keys.js';
import { createKdsClient, type KdsClientOptions, NotCachedError } from '../client.js';
import { ThrottledError, UnknownToServiceError } from '../request.js';
import { testAuthorityKeys } from '../testing/authority-keys.js';
import { countedService } from '../testing/counted-service.js';
import {
  chipIdOf,
  day,
  endorsedChip,
  hour,
  misnamed,
  type SnpLine,
  snpAuthority,
  tcbOf,
  testClock,
  testTime,
} from '../testing/snp-chip.js';
import { temporaryFolder } from '../testing/temporary.js';
import { endorsementPath, vcekRequest } from './endorsement-request.js';
import { requestsForReport } from './report-requests.js';

function clientOf(baseUrl: string, options: KdsClientOptions = {}) {
  const pauses: number[] = [];
  const client = createKdsClient({
    baseUrl,
    sleep: async (milliseconds) => void pauses.push(milliseconds),
    now: () => testTime,
    ...options,
  });
  return { client, pauses };
}

/** An authority with a chip, served, and a client. */
async function prepared(line: SnpLine = 'Milan', options: KdsClientOptions = {}) {
  const clock = testClock();
  const made = await endorsedChip(line, { now: clock.now });
  const service = await countedService(made.authority);
  const { client, pauses } = clientOf(service.url, { now: clock.now, ...options });
  return { ...made, clock, service, client, pauses };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

describe.each(['Milan', 'Genoa', 'Turin'] as const)('a client asks for %s', (line) => {
  test('VCEKs, chains and lists, and gets what the authority issued', async () => {
    const { client, chip, vcek, snp, service } = await prepared(line);
    expect(await client.vcek(chip)).toEqual(vcek);
    expect(await client.certificateChain('VCEK', line)).toEqual([snp.ask, snp.ark]);
    expect(await client.certificateChain('VLEK', line)).toEqual([await snp.asvk(), snp.ark]);
    for (const kind of ['VCEK', 'VLEK'] as const) {
      const served = await snp.findEndorsement({ what: 'crl', kind, line });
      expect(await client.revocationList(kind, line)).toEqual(served);
    }
    expect(service.requests).toEqual([
      endorsementPath(vcekRequest(chip)),
      `/vcek/v1/${line}/cert_chain`,
      `/vlek/v1/${line}/cert_chain`,
      `/vcek/v1/${line}/crl`,
      `/vlek/v1/${line}/crl`,
    ]);
  });
});

describe('a client', () => {
  test('gets a cloud operator’s VLEK from a service that gives it', async () => {
    const { client, snp } = await prepared();
    const { publicKey } = await generateP384();
    const vlek = await snp.endorseVlek({ line: 'Milan', tcb: tcbOf('Milan'), publicKey });
    expect(await client.endorsement({ what: 'vlek', line: 'Milan', tcb: tcbOf('Milan') })).toEqual(vlek);
  });

  test('tells an unknown chip from a service that fails', async () => {
    const { client, chip, service } = await prepared();
    const stranger = { ...chip, chipId: chipIdOf('Milan') };
    await expect(client.vcek(stranger)).rejects.toBeInstanceOf(UnknownToServiceError);
    service.scripted.push({ status: 500 });
    await expect(client.vcek(chip)).rejects.toThrow(/answered 500/);
    await expect(client.vcek({ ...chip, chipId: new Uint8Array(64) })).rejects.toThrow(/masked/);
  });

  test('offline is a promise: what is not cached is unavailable, and nothing is sent', async () => {
    const sent: string[] = [];
    const client = createKdsClient({
      offline: true,
      fetch: async (address) => {
        sent.push(address);
        throw new Error('the network was touched');
      },
    });
    const { chip } = await endorsedChip('Milan');
    await expect(client.vcek(chip)).rejects.toBeInstanceOf(NotCachedError);
    await expect(client.certificateChain('VLEK', 'Turin')).rejects.toBeInstanceOf(NotCachedError);
    await expect(client.revocationList('VCEK', 'Genoa', { refresh: true })).rejects.toBeInstanceOf(
      NotCachedError,
    );
    expect(sent).toEqual([]);
  });

  test('asks AMD when no service is named', async () => {
    const asked: string[] = [];
    const client = createKdsClient({
      fetch: async (address) => {
        asked.push(address);
        return new Response(null, { status: 404 });
      },
    });
    await expect(client.certificateChain('VCEK', 'Milan')).rejects.toBeInstanceOf(UnknownToServiceError);
    expect(asked).toEqual(['https://kdsintf.amd.com/vcek/v1/Milan/cert_chain']);
  });

  test('callers that ask at the same time share one request, and no memory', async () => {
    const { client, chip, vcek, service } = await prepared();
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.vcek(chip)));
    expect(service.requests).toHaveLength(1);
    answers[0]!.fill(0);
    expect(answers[1]).toEqual(vcek);
    expect(await client.vcek(chip)).toEqual(vcek);
  });

  test('a failure is not shared with those who ask later', async () => {
    const { client, chip, vcek, service } = await prepared();
    service.scripted.push({ status: 500 });
    await expect(Promise.all([client.vcek(chip), client.vcek(chip)])).rejects.toThrow(/500/);
    expect(await client.vcek(chip)).toEqual(vcek);
    expect(service.requests).toHaveLength(2);
  });
});

describe('throttling', () => {
  test('is waited out, longer each time when the service does not say how long', async () => {
    const { client, chip, vcek, service, pauses } = await prepared();
    service.scripted.push({ status: 429 }, { status: 429 }, { status: 429, headers: { 'retry-after': '3' } });
    expect(await client.vcek(chip)).toEqual(vcek);
    expect(pauses).toEqual([10_000, 20_000, 3000]);
  });

  test('has a budget, and the error says when to come back', async () => {
    const { client, chip, service, pauses } = await prepared('Milan', { pauseBudgetSeconds: 100 });
    for (let i = 0; i < 9; i++) service.scripted.push({ status: 429, headers: { 'retry-after': '50' } });
    const error = await client.vcek(chip).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ThrottledError);
    expect((error as ThrottledError).retryAfterSeconds).toBe(50);
    expect((error as ThrottledError).hint).toMatch(/50 seconds/);
    expect(pauses).toEqual([50_000, 50_000]);
  });

  test('more requests than may wait are refused', async () => {
    const { client, snp } = await prepared('Milan', { requestsAtOnce: 1, requestsWaiting: 1 });
    const asked = (['VCEK', 'VLEK'] as const).flatMap((kind) => [
      client.certificateChain(kind, 'Milan'),
      client.revocationList(kind, 'Milan'),
    ]);
    const settled = await Promise.allSettled(asked);
    const refused = settled.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(2);
    for (const each of refused)
      expect(String((each as PromiseRejectedResult).reason)).toMatch(/waiting for it/);
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    expect(await client.certificateChain('VCEK', 'Milan')).toEqual([snp.ask, snp.ark]);
  });

  test.each([
    ['never answers', false],
    ['answers with half', true],
  ])('a service that %s is not waited for', async (_name, begins) => {
    const server = createServer((_request, response) => {
      if (begins) response.writeHead(200, { 'content-length': '1000' }).write('half');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const { client } = clientOf(`http://127.0.0.1:${port}`, { timeoutSeconds: 0.1 });
    await expect(client.certificateChain('VCEK', 'Milan')).rejects.toThrow(/could not be read/);
  });
});

describe('what the service sends', () => {
  const refusals: [string, (given: Awaited<ReturnType<typeof prepared>>) => Promise<Uint8Array>, RegExp][] = [
    ['nothing', async () => new Uint8Array(), /VCEK/],
    ['a web page', async () => new TextEncoder().encode('<html>'), /VCEK/],
    ['a VCEK in PEM', async ({ vcek }) => new TextEncoder().encode(encodePem('CERTIFICATE', vcek)), /VCEK/],
    ['a VCEK with a byte behind it', async ({ vcek }) => Uint8Array.of(...vcek, 0), /VCEK/],
    ['an ASK', async ({ snp }) => snp.ask, /VEK certificate extensions/],
    [
      'another chip’s VCEK',
      async ({ snp, chip, key }) =>
        snp.endorseVcek({ ...chip, chipId: chipIdOf('Milan'), publicKey: key.publicKey }),
      /received that of chip/,
    ],
    [
      'the VCEK of a higher TCB version',
      async ({ snp, chip, key }) =>
        snp.endorseVcek({ ...chip, tcb: { ...chip.tcb, microcode: 218 }, publicKey: key.publicKey }),
      /for bootloader 4, tee 0, snp 24, microcode 218, not for .* microcode 217/,
    ],
    [
      'the VCEK of a lower TCB version',
      async ({ snp, chip, key }) =>
        snp.endorseVcek({ ...chip, tcb: { ...chip.tcb, bootloader: 3 }, publicKey: key.publicKey }),
      /for bootloader 3/,
    ],
    [
      'the VLEK of the same TCB version',
      async ({ snp, chip, key }) =>
        snp.endorseVlek({ line: 'Milan', tcb: chip.tcb, publicKey: key.publicKey }),
      /received a VLEK/,
    ],
    [
      'the VCEK of another product line',
      async ({ chip, key }) => {
        const { snp } = await snpAuthority('Genoa');
        return snp.endorseVcek({ ...chip, line: 'Genoa', publicKey: key.publicKey });
      },
      /received a VCEK of Genoa/,
    ],
    [
      'one that names another product line’s ASK',
      async ({ chip }) => (await misnamed()).vcek({ ...chip, line: 'Milan' }),
      /received issued by .*SEV-Genoa/,
    ],
    ['more than any certificate has', async () => new Uint8Array(70_000), /more than 65536 bytes/],
  ];

  test.each(refusals)(
    '%s is not the VCEK that was asked for, and is not kept',
    async (_name, make, message) => {
      const given = await prepared('Milan', { cacheFolder: temporaryFolder() });
      given.service.scripted.push({ status: 200, body: await make(given) });
      const failure = given.client.vcek(given.chip);
      await expect(failure).rejects.toBeInstanceOf(UnavailableError);
      await expect(failure).rejects.toThrow(message);
      expect(await given.client.vcek(given.chip)).toEqual(given.vcek);
      expect(given.service.requests).toHaveLength(2);
    },
  );

  const pem = (...certificates: Uint8Array[]) =>
    new TextEncoder().encode(certificates.map((each) => encodePem('CERTIFICATE', each)).join(''));

  test.each<[string, (given: Awaited<ReturnType<typeof prepared>>) => Promise<Uint8Array>, RegExp]>([
    ['the ASK alone', async ({ snp }) => pem(snp.ask), /1 certificates/],
    ['three certificates', async ({ snp }) => pem(snp.ask, snp.ark, snp.ark), /3 certificates/],
    ['the other order', async ({ snp }) => pem(snp.ark, snp.ask), /received first .*ARK-Milan/],
    ['the ASVK', async ({ snp }) => pem(await snp.asvk(), snp.ark), /received first .*SEV-VLEK-Milan/],
    ['DER', async ({ snp }) => snp.ask, /not PEM/],
    [
      'words between',
      async ({ snp }) => new TextEncoder().encode(`${text(pem(snp.ask))}hello\n${text(pem(snp.ark))}`),
      /other text/,
    ],
    [
      'another product line’s',
      async () => {
        const { snp } = await snpAuthority('Genoa');
        return pem(snp.ask, snp.ark);
      },
      /received first .*SEV-Genoa/,
    ],
    [
      'another product line’s ARK',
      async ({ snp }) => pem(snp.ask, (await snpAuthority('Genoa')).snp.ark),
      /received second .*ARK-Genoa/,
    ],
    [
      'an ASK that names another ARK',
      async ({ snp }) => pem((await misnamed()).ask, snp.ark),
      /SEV-Milan, which that ARK did not sign/,
    ],
    ['an ARK that signed neither', async ({ snp }) => pem(snp.ask, altered(snp.ark)), /did not sign/],
    ['an ASK that it did not sign', async ({ snp }) => pem(altered(snp.ask), snp.ark), /did not sign/],
  ])('%s is not ASK and ARK', async (_name, make, message) => {
    const given = await prepared();
    given.service.scripted.push({ status: 200, body: await make(given) });
    await expect(given.client.certificateChain('VCEK', 'Milan')).rejects.toThrow(message);
    expect(await given.client.certificateChain('VCEK', 'Milan')).toEqual([given.snp.ask, given.snp.ark]);
  });

  test('a list by another ARK, or something else, is not the list', async () => {
    const { client, service, snp } = await prepared();
    const genoa = (await snpAuthority('Genoa')).snp;
    const strange = await genoa.findEndorsement({ what: 'crl', kind: 'VCEK', line: 'Genoa' });
    for (const body of [strange!, snp.ark, new Uint8Array(3)]) {
      service.scripted.push({ status: 200, body });
      await expect(client.revocationList('VCEK', 'Milan')).rejects.toBeInstanceOf(UnavailableError);
    }
    expect(await client.revocationList('VCEK', 'Milan')).toBeDefined();
    expect(service.requests).toHaveLength(4);
  });
});

/** One bit of the signature: no reader could see it. */
function altered(certificate: Uint8Array): Uint8Array {
  return certificate.with(certificate.length - 9, certificate.at(-9)! ^ 1);
}

async function listOf(thisUpdate: number, nextUpdate: number | undefined, revoked: bigint[] = []) {
  const { ark } = await testAuthorityKeys('milan');
  const { subject } = developmentEndorsementRules('Milan').authorities.ARK;
  return encodeRevocationList(
    {
      issuer: subject,
      thisUpdate,
      ...(nextUpdate === undefined ? {} : { nextUpdate }),
      revoked: revoked.map((serial) => ({ serial, revokedAt: thisUpdate })),
    },
    (bytes) => signPss('milan', ark, bytes),
  );
}

describe('the cache', () => {
  test('keeps certificates for good, for this client and the next, online or not', async () => {
    const cacheFolder = temporaryFolder();
    const { client, clock, chip, vcek, snp, service } = await prepared('Turin', { cacheFolder });
    await client.vcek(chip);
    await client.certificateChain('VCEK', 'Turin');
    clock.pass(20 * 365 * day);
    await client.vcek(chip);
    const { client: offline } = clientOf(service.url, { cacheFolder, offline: true, now: clock.now });
    expect(await offline.vcek(chip)).toEqual(vcek);
    expect(await offline.certificateChain('VCEK', 'Turin')).toEqual([snp.ask, snp.ark]);
    expect(service.requests).toHaveLength(2);
    const [folder] = readdirSync(cacheFolder);
    for (const name of readdirSync(join(cacheFolder, folder!)))
      expect(statSync(join(cacheFolder, folder!, name)).mode & 0o777).toBe(0o600);
  });

  test('keeps a revocation list until its next update, and not a moment longer', async () => {
    const cacheFolder = temporaryFolder();
    const { client, clock, service } = await prepared('Milan', { cacheFolder });
    const list = await client.revocationList('VCEK', 'Milan');
    const next = parseRevocationList(list).nextUpdate!;
    clock.set(next - 1);
    const { client: offline } = clientOf(service.url, { cacheFolder, offline: true, now: clock.now });
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(list);
    expect(await offline.revocationList('VCEK', 'Milan')).toEqual(list);
    expect(service.requests).toHaveLength(1);
    clock.set(next);
    await expect(offline.revocationList('VCEK', 'Milan')).rejects.toBeInstanceOf(NotCachedError);
    expect(parseRevocationList(await client.revocationList('VCEK', 'Milan')).thisUpdate).toBe(next);
    expect(service.requests).toHaveLength(2);
  });

  test('does not use a list of the future, after a clock was set back', async () => {
    const { client, clock, service } = await prepared();
    await client.revocationList('VCEK', 'Milan');
    clock.pass(-30 * day);
    await client.revocationList('VCEK', 'Milan');
    expect(service.requests).toHaveLength(2);
  });

  test('a stale list and one of the future are refused when they arrive', async () => {
    const { client, service } = await prepared();
    for (const [body, message] of [
      [await listOf(testTime - 2 * day, testTime), /grew stale at 2031-03-01T12:00:00Z/],
      [await listOf(testTime + 1000, testTime + day), /of the future, 2031-03-01T12:00:01Z/],
    ] as const) {
      service.scripted.push({ status: 200, body });
      const error = await client.revocationList('VCEK', 'Milan').catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(UnavailableError);
      expect(String(error)).toMatch(message);
      expect((error as UnavailableError).hint).toMatch(/clock/);
    }
  });

  test('a list that does not say when it grows stale is given and not kept', async () => {
    const cacheFolder = temporaryFolder();
    const { client, service } = await prepared('Milan', { cacheFolder });
    const list = await listOf(testTime - day, undefined);
    service.scripted.push({ status: 200, body: list }, { status: 200, body: list });
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(list);
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(list);
    expect(service.requests).toHaveLength(2);
    expect(readdirSync(cacheFolder)).toEqual([]);
  });

  test('on request a list is fetched anew, and never replaced by an older one', async () => {
    const { client, clock, service, snp } = await prepared();
    const first = await client.revocationList('VCEK', 'Milan');
    clock.pass(hour);
    await snp.revoke('ASK');
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(first);
    const second = await client.revocationList('VCEK', 'Milan', { refresh: true });
    expect(parseRevocationList(second).revoked).toHaveLength(1);
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(second);
    service.scripted.push({ status: 200, body: first });
    expect(await client.revocationList('VCEK', 'Milan', { refresh: true })).toEqual(second);
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(second);
  });

  test('a damaged entry is fetched again, and so is one of another chip with the right sum', async () => {
    const cacheFolder = temporaryFolder();
    const { client, chip, vcek, service, snp, key } = await prepared('Milan', { cacheFolder });
    await client.vcek(chip);
    const folder = join(cacheFolder, readdirSync(cacheFolder)[0]!);
    const name = readdirSync(folder).find((each) => each.endsWith('.der'))!;
    writeFileSync(join(folder, name), altered(vcek));
    expect(await client.vcek(chip)).toEqual(vcek);
    expect(service.requests).toHaveLength(2);
    const other = { ...chip, chipId: chipIdOf('Milan') };
    await snp.endorseVcek({ ...other, publicKey: key.publicKey });
    await client.vcek(other);
    const names = readdirSync(folder).filter((each) => each !== name && each.endsWith('.der'));
    const sum = readFileSync(join(folder, `${names[0]}.sha256`), 'utf8').replace(names[0]!, name);
    writeFileSync(join(folder, name), readFileSync(join(folder, names[0]!)));
    writeFileSync(join(folder, `${name}.sha256`), sum);
    expect(await client.vcek(chip)).toEqual(vcek);
  });

  test('what came by another way is checked as strictly', async () => {
    const { client, chip, vcek, snp, service } = await prepared('Genoa');
    const request = vcekRequest(chip);
    await expect(client.keepEndorsement(request, snp.ask)).rejects.toBeInstanceOf(UnavailableError);
    await expect(
      client.keepEndorsement(vcekRequest({ ...chip, chipId: chipIdOf('Genoa') }), vcek),
    ).rejects.toThrow(/received that of chip/);
    await client.keepEndorsement(request, vcek);
    expect(await client.vcek(chip)).toEqual(vcek);
    expect(service.requests).toEqual([]);
  });
});

describeWithVectors('AMD’s own', () => {
  test.each([
    ['VCEK', 'Milan', 'milan'],
    ['VLEK', 'Milan', 'milan-vlek'],
    ['VCEK', 'Genoa', 'genoa'],
    ['VLEK', 'Genoa', 'genoa-vlek'],
    ['VCEK', 'Turin', 'turin'],
    ['VLEK', 'Turin', 'turin-vlek'],
  ] as const)('cert_chain for %s of %s is accepted as served', async (kind, line, file) => {
    const { url, scripted } = await countedService();
    const body = vectors(`snp/certs/cert_chain_${file}.pem`);
    scripted.push({ status: 200, body });
    const { client } = clientOf(url);
    const [signer, ark] = await client.certificateChain(kind, line);
    expect(parseCertificate(signer).issuer).toEqual(parseCertificate(ark).subject);
    expect(await client.endorsement({ what: 'chain', kind, line })).toEqual(body);
    const wrong = kind === 'VCEK' ? 'VLEK' : 'VCEK';
    scripted.push({ status: 200, body });
    await expect(client.certificateChain(wrong, line)).rejects.toThrow(/received first/);
  });

  test.each(['milan-v2-debug.vcek.der', 'milan-v3-oak.vcek.der', 'genoa-v5-siena.vcek.der'])(
    'VCEK %s is accepted for its report',
    async (file) => {
      const report = parseSnpReport(vectors(`snp/reports/${file.replace('.vcek.der', '.bin')}`), {
        line: file.startsWith('milan') ? 'Milan' : 'Genoa',
      });
      const { vek } = requestsForReport(report);
      const { url, scripted, requests } = await countedService();
      const body = vectors(`snp/reports/${file}`);
      scripted.push({ status: 200, body });
      expect(await clientOf(url).client.endorsement(vek!)).toEqual(body);
      expect(requests).toEqual([endorsementPath(vek!)]);
    },
  );
});
