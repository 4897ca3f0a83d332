import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Broker,
  type BrokerOptions,
  createMasterKeyFile,
  generateIssuerKey,
  initialiseBroker,
  type MasterKey,
  masterKeyFromFile,
  openBroker,
  type ReferenceDocument,
  referenceFormat,
  signReferenceDocument,
} from '@vouchsafe/broker';
import { initDataDigest, initDataText } from '@vouchsafe/protocol';
import { systemRandom, toBase64, toHex, UnavailableError } from '@vouchsafe/sev';
import { createSnpWorld, type SnpWorldOptions } from '../snp/world.js';
import { type Answer, administer, type Question, required } from './answers.js';
import { type BrokerGuest, newGuest } from './guest.js';

/**
 * What the attacks on a key broker stand on: a development authority, one honest machine that it endorses, and brokers
 * that know this machine and release to it.
 */
export interface BrokerWorld {
  /** A broker that has just been opened, over a database of its own. */
  rig(): Promise<BrokerRig>;
  close(): Promise<void>;
}

/** One broker with all that its attackers can get at: the wire, its database while it runs, old copies of that. */
export interface BrokerRig {
  readonly broker: Broker;
  /** What its operator reads: a line of JSON each. */
  readonly log: readonly string[];
  /** Where its database is. */
  readonly file: string;
  /** Lets milliseconds go by on its clock, or sets it back by them. */
  pass(milliseconds: number): void;
  /** Another broker over this one's database, or over another file's; a replica of its own name unless told otherwise. */
  open(changes?: Partial<BrokerOptions>): Promise<Broker>;
  /** Another owner's broker, which trusts the same authority. */
  stranger(): Promise<Broker>;
  /** As the administrator who has every role, unless another token is given. @param path below `/v1` */
  administer(method: Question['method'], path: string, body?: object, token?: string): Promise<Answer>;
  /** Stores a secret for machines with a known measurement. */
  store(path: string, content: string, more?: { readonly releases?: number }): Promise<void>;
  /** In the name of the issuer that the broker trusts, and signed with its key unless another is given. */
  referenceValues(changes?: Partial<ReferenceDocument>, key?: IssuerKey): Promise<string>;
  /** A client with a key of its own, which has the honest machine's reports made. */
  guest(): Promise<BrokerGuest>;
  /** One that this database was not made with. */
  otherMasterKey(): Promise<MasterKey>;
}

type IssuerKey = Parameters<typeof signReferenceDocument>[1];

/** What the honest machine was launched with; HOST_DATA binds it. */
const ownersInitData = initDataText({ 'aa.toml': 'setting = "the owner’s"\n' });
/** A secret that every broker of this world has. */
export const diskKey = { path: 'machines/keys/disk', content: 'correct horse battery staple' } as const;

const day = 86_400_000;
const issuerName = 'releases@owner.example';
/** The broker's own demands stand before it: a known measurement, fresh report data, VMPL 0, a good verdict on revocation. */
const permitAll = '@id("everybody")\npermit (principal, action, resource);\n';
export const base64Of = (text: string) => toBase64(new TextEncoder().encode(text));

export async function createBrokerWorld(options: SnpWorldOptions = {}): Promise<BrokerWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-attacks-'));
  const silicon = await createSnpWorld(options);
  const machine = await silicon.rig();
  const hostData = (await initDataDigest(ownersInitData)).slice(0, 32);
  const { attestation: device } = await machine.boot({ hostData });
  const vcek = await machine.vcek();

  const masterKeys: MasterKey[] = [];
  const brokers: Broker[] = [];
  let files = 0;
  const newFile = (kind: string) => join(folder, `${files++}.${kind}`);

  async function newMasterKey(): Promise<MasterKey> {
    const file = newFile('key');
    await createMasterKeyFile(file, systemRandom);
    const key = await masterKeyFromFile(file, systemRandom);
    masterKeys.push(key);
    return key;
  }

  const { privateKey, issuer } = await generateIssuerKey(issuerName);
  const common = {
    masterKey: await newMasterKey(),
    random: systemRandom,
    replica: 'one',
    roots: [silicon.authority.root],
    keyService: {
      async endorsement(request) {
        const found = await silicon.authority.findEndorsement(request);
        if (found === undefined) throw new UnavailableError('key service', 'it has no such endorsement');
        return found;
      },
    },
  } satisfies Partial<BrokerOptions>;

  async function openOver(
    options: Pick<BrokerOptions, 'database' | 'now'> & Partial<BrokerOptions>,
  ): Promise<Broker> {
    const broker = await openBroker({ ...common, ...options });
    brokers.push(broker);
    return broker;
  }

  function referenceValues(changes: Partial<ReferenceDocument> = {}, key = privateKey): Promise<string> {
    const now = Date.now();
    const document: ReferenceDocument = {
      format: referenceFormat,
      issuer: issuerName,
      name: 'machines',
      version: 2,
      notBefore: new Date(now - day).toISOString(),
      notAfter: new Date(now + day).toISOString(),
      measurements: [{ value: toHex(silicon.measurement) }],
      ...changes,
    };
    return signReferenceDocument(document, key);
  }

  const putSecret = async (broker: Broker, token: string, path: string, content: string, more: object = {}) =>
    void required(
      await administer(broker, token, 'PUT', `/secrets/${path}`, { content: base64Of(content), ...more }),
    );

  /** Every broker begins with a copy of this one's database, so that it need not be made each time. */
  async function prepare(): Promise<{ readonly file: string; readonly token: string }> {
    const file = newFile('db');
    const state = { ...common, database: `sqlite:${file}`, now: () => Date.now() };
    const { token } = await initialiseBroker({ ...state, issuers: [issuer] });
    const broker = await openBroker(state);
    const document = await referenceValues();
    required(await administer(broker, token, 'PUT', '/policies/default', { policy: base64Of(permitAll) }));
    required(await administer(broker, token, 'POST', '/reference-values', { document }));
    await putSecret(broker, token, diskKey.path, diskKey.content);
    await broker.close();
    return { file, token };
  }
  const prepared = await prepare();

  return {
    async rig() {
      const file = newFile('db');
      await cp(prepared.file, file);
      let passed = 0;
      const now = () => Date.now() + passed;
      const database = `sqlite:${file}`;
      const log: string[] = [];
      const written = { level: 'error', write: (line: string) => void log.push(line) } as const;
      const broker = await openOver({ database, now, log: written });
      return {
        broker,
        log,
        file,
        pass(milliseconds) {
          passed += milliseconds;
        },
        open: (changes) => openOver({ database, now, replica: 'two', log: written, ...changes }),
        async stranger() {
          const strange = { database: `sqlite:${newFile('db')}`, now };
          await initialiseBroker({ ...common, ...strange });
          return openOver(strange);
        },
        administer: (method, path, body, token = prepared.token) =>
          administer(broker, token, method, path, body),
        store: (path, content, more) => putSecret(broker, prepared.token, path, content, more),
        referenceValues,
        guest: () => newGuest({ broker, device, vcek, initData: ownersInitData }),
        otherMasterKey: newMasterKey,
      };
    },
    async close() {
      try {
        for (const broker of brokers) await broker.close();
      } finally {
        for (const key of masterKeys) key.close();
        await silicon.close();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
