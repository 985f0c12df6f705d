export interface Process {
  readonly pid: number;
  readonly command: string;
}
export function processesOf(mark: string): Process[];
export function endProcesses(mark: string, graceMs: number): Promise<Process[]>;
