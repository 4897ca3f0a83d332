import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import {
  type AgentKernelParameters,
  type AgentResources,
  type AttestationAgentSettings,
  type AttestationDevice,
  appraiseInitData,
  brokerResources,
  connectKeyBroker,
  type DataHubSettings,
  folderSecretStore,
  type KeyBrokerClient,
  offlineFiles,
  parseAgentKernelParameters,
  parseAttestationAgentSettings,
  parseDataHubSettings,
  readOfflineFiles,
  resourcesFrom,
  takeInjectedKeys,
} from '@vouchsafe/guest';
import { initDataDigest, parseInitData, type TeeKeyKind } from '@vouchsafe/protocol';
import { InvalidArgumentError, requireAccepted, UnavailableError } from '@vouchsafe/sev';
import type { Context } from '../../frame/command.js';
import { textFile } from '../guest/secrets/broker-options.js';

export interface AgentInputs {
  readonly broker: string | undefined;
  readonly device: () => AttestationDevice;
  readonly ca: string | undefined;
  readonly fingerprint: Uint8Array | undefined;
  readonly tokenKeys: readonly string[];
  readonly keyKind: TeeKeyKind | undefined;
  readonly secretsFolder: string;
  readonly offlineKeys: string | undefined;
  readonly offlineResources: string | undefined;
  readonly settings: string | undefined;
  readonly dataHubSettings: string | undefined;
  readonly initData: string | undefined;
  readonly commandLine: string;
  readonly ignoreCommandLine: boolean;
}

/** What an agent works with. */
export interface AgentSources {
  readonly resources: AgentResources;
  readonly broker: KeyBrokerClient | undefined;
  /** Absent on SEV and SEV-ES. */
  readonly device: AttestationDevice | undefined;
  readonly settings: AttestationAgentSettings;
  readonly dataHub: DataHubSettings;
  readonly kernel: AgentKernelParameters;
  /** Where keys come from, for people. */
  readonly from: readonly string[];
  /** Gives the device back. */
  close(): Promise<void>;
}

/**
 * Gathers settings and sources of keys. Of two places that name a broker, the narrower counts: the option, the agent's settings, the data hub's, the kernel's parameters.
 * @throws RefusedError for init-data that is not what HOST_DATA binds
 */
export async function openAgentSources(inputs: AgentInputs, context: Context): Promise<AgentSources> {
  const { io } = context;
  const device = openedDevice(inputs);
  try {
    const initData =
      inputs.initData === undefined ? undefined : await textFile(inputs.initData, 'init-data', io);
    const files = initData === undefined ? {} : await boundFiles(initData, device);
    const textOf = async (option: string | undefined, name: string) =>
      option === undefined ? files[name] : textFile(option, 'settings', io);
    const settings = parseAttestationAgentSettings((await textOf(inputs.settings, 'aa.toml')) ?? '');
    const dataHub = parseDataHubSettings((await textOf(inputs.dataHubSettings, 'cdh.toml')) ?? '');
    const kernel =
      inputs.ignoreCommandLine || !existsSync(inputs.commandLine)
        ? {}
        : parseAgentKernelParameters(await textFile(inputs.commandLine, 'kernel command line', io));

    const named = brokerOf(inputs, settings, dataHub, kernel);
    const broker = named === undefined ? undefined : await connect(named, inputs, initData, device, context);
    const offline = await offlineSources(inputs, dataHub, kernel);
    const sources = [
      ...offline,
      ...(broker === undefined ? [] : [{ from: named!.address, resources: brokerResources(broker) }]),
    ];
    return {
      resources: resourcesFrom(sources.map(({ resources }) => resources)),
      broker,
      device,
      settings,
      dataHub,
      kernel,
      from: sources.map(({ from }) => from),
      async close() {
        await broker?.close();
        await device?.close();
      },
    };
  } catch (error) {
    await device?.close();
    throw error;
  }
}

/** A guest of SEV or SEV-ES has none, which matters only where something needs it. */
function openedDevice({ device }: AgentInputs): AttestationDevice | undefined {
  try {
    return device();
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}

async function boundFiles(
  initData: string,
  device: AttestationDevice | undefined,
): Promise<Readonly<Record<string, string>>> {
  if (device === undefined)
    throw new UnavailableError('init-data', 'without an attestation device nothing binds it to this guest');
  requireAccepted(await appraiseInitData(device, await initDataDigest(initData)));
  return parseInitData(initData).data;
}

interface NamedBroker {
  readonly address: string;
  readonly authorities?: string | undefined;
  readonly keyKind?: TeeKeyKind | undefined;
}

function brokerOf(
  { broker }: AgentInputs,
  { token_configs: tokens }: AttestationAgentSettings,
  { kbc }: DataHubSettings,
  { keyBroker }: AgentKernelParameters,
): NamedBroker | undefined {
  if (broker !== undefined) return { address: broker };
  if (tokens?.kbs !== undefined) {
    const { url, cert, tee_key_algorithm: keyKind } = tokens.kbs;
    return { address: url, authorities: cert, keyKind };
  }
  if (kbc?.name === 'cc_kbc') {
    if (kbc.url === undefined) throw new InvalidArgumentError('data hub settings', 'cc_kbc needs its url');
    return { address: kbc.url, authorities: kbc.kbs_cert };
  }
  return keyBroker?.client === 'cc_kbc' ? { address: keyBroker.address } : undefined;
}

async function connect(
  { address, authorities, keyKind }: NamedBroker,
  { ca, fingerprint, tokenKeys, ...inputs }: AgentInputs,
  initData: string | undefined,
  device: AttestationDevice | undefined,
  { io, progress }: Context,
): Promise<KeyBrokerClient> {
  const pem = ca === undefined ? authorities : await textFile(ca, 'authorities', io);
  const kind = inputs.keyKind ?? keyKind;
  return connectKeyBroker({
    address,
    // Opened again for its error, which says what to do.
    device: device ?? inputs.device(),
    trust: {
      ...(pem === undefined ? {} : { authorities: pem }),
      ...(fingerprint === undefined ? {} : { certificateFingerprint: fingerprint }),
    },
    ...(initData === undefined ? {} : { initData }),
    ...(tokenKeys.length === 0 ? {} : { tokenKeys }),
    ...(kind === undefined ? {} : { keyKind: kind }),
    now: () => performance.now(),
    pause: async (milliseconds) => {
      progress.step(`the broker is busy or away; trying again in ${milliseconds / 1000} seconds`);
      await wait(milliseconds);
    },
  });
}

async function offlineSources(
  { secretsFolder, offlineKeys, offlineResources }: AgentInputs,
  { kbc }: DataHubSettings,
  { keyBroker }: AgentKernelParameters,
): Promise<{ readonly from: string; readonly resources: AgentResources }[]> {
  const found: { from: string; resources: AgentResources }[] = [];
  const injected = existsSync(secretsFolder)
    ? await takeInjectedKeys(folderSecretStore(secretsFolder))
    : undefined;
  if (injected !== undefined) found.push({ from: 'keys injected at launch', resources: injected });
  const isNamed = offlineKeys !== undefined || offlineResources !== undefined;
  if (isNamed || kbc?.name === 'offline_fs_kbc' || keyBroker?.client === 'offline_fs_kbc') {
    const files = {
      keys: offlineKeys ?? offlineFiles.keys,
      resources: offlineResources ?? offlineFiles.resources,
    };
    found.push({ from: 'files of this guest', resources: await readOfflineFiles(files) });
  }
  return found;
}
