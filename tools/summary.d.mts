export interface Summary {
  readonly ok: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
}
export declare function summarise(report: object, root: string): Summary;
export declare function describeTotals(text: string): string[];
