import { type ChildProcess, spawn } from 'node:child_process';

export interface VirtualMachineOptions {
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
  /** Image of `/dev/vda`; what the guest writes to it is forgotten. */
  readonly disk: string;
  /** Socket that `vouchsafe guest device serve` answers on. */
  readonly attestationSocket: string;
  /** What a guest says at its end that does not switch itself off: QEMU is ended then. */
  readonly lastWords?: string;
  /** For the whole run, in milliseconds. */
  readonly timeout?: number;
}

/**
 * Boots a machine of QEMU without KVM and gives what it wrote on its console until its end. Its network
 * reaches the loopback of this machine as 10.0.2.2.
 */
export function bootVirtualMachine(options: VirtualMachineOptions): Promise<string> {
  const { kernel, initrd, commandLine, disk, attestationSocket, lastWords, timeout = 110_000 } = options;
  const words = [
    ...['-machine', 'pc,accel=tcg', '-cpu', 'EPYC-Milan', '-m', '640', '-nodefaults', '-display', 'none'],
    ...['-no-reboot', '-serial', 'stdio'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', commandLine],
    ...[
      '-drive',
      `if=none,id=disk,file=${disk},format=raw,snapshot=on`,
      '-device',
      'virtio-blk-pci,drive=disk',
    ],
    ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-chardev', `socket,id=vsnp,path=${attestationSocket}`, '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=vsnp,name=vouchsafe'],
  ];
  const child = spawn('qemu-system-x86_64', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  return consoleOf(child, timeout, lastWords);
}

function consoleOf(child: ChildProcess, timeout: number, lastWords?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    let complaints = '';
    let isOver = false;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (lastWords === undefined || !output.includes(lastWords)) return;
      isOver = true;
      child.kill();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    const late = setTimeout(() => child.kill('SIGKILL'), timeout);
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(late);
      if (status === 0 || isOver) resolve(output.replaceAll('\r', ''));
      else reject(new Error(`QEMU ended with ${status ?? 'a signal'}: ${complaints}\n${output}`));
    });
  });
}
