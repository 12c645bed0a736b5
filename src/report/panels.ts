/**
 * Drawings of a snapshot (analysis.json): kernels as heat maps, spectra, cosines by position, predicted
 * against measured. Data only, as figures.ts.
 */
import type { Snapshot } from '../analysis/snapshot.js';
import { twoDigits } from '../core/units.js';
import type { DefinitionKey } from './definitions.js';
import { armColor, type ChartOption, FRAME, INK, LINE, TEXT, TOOLTIP } from './figures.js';

export interface Panel {
  readonly id: string;
  readonly title: string;
  readonly definition: DefinitionKey;
  readonly option: ChartOption;
  /** In pixels. */
  readonly height: number;
}

const COMPONENT_INDEX: Readonly<Record<string, number>> = {
  representation: 1,
  gradient: 2,
  cross: 4,
  total: 0,
};
const COMPONENT_DEFINITION: Readonly<Record<string, DefinitionKey>> = {
  representation: 'representation',
  gradient: 'gradient',
  cross: 'cross',
  total: 'total',
};
const LEGEND = { top: 0, itemWidth: 14, itemHeight: 8, itemGap: 18, textStyle: TEXT };
const axis = (name: string, extra: object = {}) => ({
  type: 'value',
  name,
  nameLocation: 'middle',
  nameGap: 26,
  nameTextStyle: TEXT,
  axisLabel: { ...TEXT, hideOverlap: true },
  axisLine: { lineStyle: { color: LINE } },
  axisTick: { show: false },
  splitLine: { lineStyle: { color: LINE } },
  ...extra,
});
const short = (label: string, length: number) =>
  label.length > length ? `${label.slice(0, length - 1)}…` : label;
const rounded = (x: number) => Number(x.toPrecision(4));

/** 'Total', 'Gradient: 62 % of the trace'. */
function kernelTitle(name: string, share: number): string {
  const capitalised = `${name[0]!.toUpperCase()}${name.slice(1)}`;
  return name === 'total' ? capitalised : `${capitalised}: ${Math.round(100 * share)} % of the trace`;
}

function heatMap({ name, rows, share }: Snapshot['kernels'][number], samples: readonly string[]): Panel {
  // Pairs are what a map is for: its colours span them, and the larger diagonal takes the last colour.
  const pairs = rows.flatMap((row, i) => row.filter((_, j) => j !== i).map(Math.abs));
  const largest = Math.max(...(pairs.length > 0 ? pairs : rows.flat().map(Math.abs)), Number.MIN_VALUE);
  const clamped = (value: number) => rounded(Math.max(-largest, Math.min(largest, value)));
  const labels = rows.map((_, i) => short(samples[i] ?? `#${i}`, 16));
  const category = {
    type: 'category',
    axisLine: { show: false },
    axisTick: { show: false },
    splitArea: { show: false },
  };
  return {
    id: `kernel-${name}`,
    title: kernelTitle(name, share),
    definition: COMPONENT_DEFINITION[name]!,
    height: 380,
    option: {
      animation: false,
      grid: { ...FRAME, right: 10, top: 8, bottom: 44 },
      tooltip: {
        ...TOOLTIP,
        trigger: 'item',
        kind: 'kernel',
        labels: rows.map((_, i) => samples[i] ?? `#${i}`),
      },
      xAxis: {
        ...category,
        data: labels.map((_, i) => String(i)),
        axisLabel: { ...TEXT, fontSize: 10, hideOverlap: true },
      },
      yAxis: {
        ...category,
        inverse: true,
        data: labels,
        axisLabel: {
          ...TEXT,
          fontSize: 10,
          interval: 0,
          width: 100,
          overflow: 'truncate',
          ...(rows.length > 24 ? { interval: 'auto' } : {}),
        },
      },
      visualMap: {
        type: 'continuous',
        dimension: 2,
        min: -largest,
        max: largest,
        calculable: false,
        orient: 'horizontal',
        left: 'center',
        bottom: 0,
        itemHeight: 120,
        itemWidth: 9,
        textStyle: { ...TEXT, fontSize: 10 },
        precision: 2,
        text: [largest, -largest].map((value) => value.toLocaleString('en', { maximumSignificantDigits: 2 })),
        inRange: { color: ['#2a5bb8', '#a9c4ee', '#f4f2ee', '#f2b48f', '#c2451a'] },
      },
      series: [
        {
          type: 'heatmap',
          data: rows.flatMap((row, i) => row.map((value, j) => [j, i, clamped(value), rounded(value)])),
          emphasis: { disabled: true },
        },
      ],
    },
  };
}

const spectra = ({ kernels }: Snapshot): Panel => ({
  id: 'spectra',
  title: 'Spectra',
  definition: 'spectrum',
  height: 260,
  option: {
    animation: false,
    grid: { ...FRAME, right: 14, top: 30, bottom: 42 },
    legend: LEGEND,
    tooltip: { ...TOOLTIP, trigger: 'axis', kind: 'curve', x: 'eigenvalue' },
    xAxis: axis('number of the eigenvalue', {
      min: 1,
      max: Math.max(2, ...kernels.map((k) => k.eigenvalues.length)),
      splitLine: { show: false },
    }),
    yAxis: axis('', { type: 'log' }),
    // A log axis has no zero: eigenvalues lost in rounding are left out.
    series: kernels
      .filter(({ name }) => name !== 'cross')
      .map(({ name, eigenvalues }) => ({
        type: 'line',
        name,
        symbolSize: 4,
        showSymbol: true,
        itemStyle: { color: armColor(COMPONENT_INDEX[name]!) },
        lineStyle: { color: armColor(COMPONENT_INDEX[name]!), width: 2 },
        data: eigenvalues.flatMap((value, i) =>
          value > 1e-9 * eigenvalues[0]! ? [[i + 1, rounded(value)]] : [],
        ),
      })),
  },
});

/** Positions with the most pairs, at most `count`, in order. */
function cosines({ cosines: all }: Snapshot, count = 5): Panel {
  const chosen = [...all]
    .sort((a, b) => b.pairs - a.pairs)
    .slice(0, count)
    .sort((a, b) => a.position - b.position);
  return {
    id: 'cosines',
    title: 'Cosines of features, by position',
    definition: 'cosine',
    height: 260,
    option: {
      animation: false,
      grid: { ...FRAME, right: 14, top: 30, bottom: 42 },
      legend: LEGEND,
      tooltip: { ...TOOLTIP, trigger: 'axis', kind: 'curve', x: 'cosine' },
      xAxis: axis('cosine', { min: -1, max: 1, splitLine: { show: false } }),
      yAxis: axis('', { axisLabel: { ...TEXT, formatter: '{value} %' } }),
      series: chosen.map(({ position, pairs, histogram }, i) => ({
        type: 'line',
        step: 'middle',
        name: position === 0 ? 'prompts' : `position ${position}`,
        showSymbol: false,
        itemStyle: { color: armColor(i + 1) },
        lineStyle: { color: armColor(i + 1), width: 2 },
        data: histogram.map((n, bin) => [
          rounded(-1 + (2 * bin + 1) / histogram.length),
          rounded((100 * n) / pairs),
        ]),
      })),
    },
  };
}

function scatter({ points, relativeError, r2 }: Required<Snapshot>['step']): Panel {
  const largest = Math.max(...points.flat().map(Math.abs), Number.MIN_VALUE);
  const range = {
    min: -rounded(1.05 * largest),
    max: rounded(1.05 * largest),
    axisLabel: { ...TEXT, hideOverlap: true, showMinLabel: false, showMaxLabel: false },
  };
  return {
    id: 'prediction',
    title: `Predicted against measured: error ${twoDigits(100 * relativeError)} %, R² ${r2.toFixed(3)}`,
    definition: 'prediction',
    height: 320,
    option: {
      animation: false,
      grid: { ...FRAME, right: 16, top: 12, bottom: 44 },
      tooltip: { ...TOOLTIP, trigger: 'item', kind: 'point' },
      xAxis: axis('measured Δ log π', range),
      yAxis: axis('', range),
      series: [
        {
          type: 'line',
          data: [
            [range.min, range.min],
            [range.max, range.max],
          ],
          showSymbol: false,
          silent: true,
          lineStyle: { color: INK, width: 1, type: 'dashed' },
          tooltip: { show: false },
        },
        {
          type: 'scatter',
          name: 'token',
          data: points.map(([predicted, measured]) => [rounded(measured), rounded(predicted)]),
          symbolSize: 4,
          itemStyle: { color: armColor(1), opacity: 0.45 },
        },
      ],
    },
  };
}

const parts = ({ parts: all }: Required<Snapshot>['step']): Panel => ({
  id: 'parts',
  title: 'Where the predicted change comes from',
  definition: 'parts',
  height: 40 + 26 * all.length,
  option: {
    animation: false,
    grid: { ...FRAME, right: 26, top: 6, bottom: 40 },
    tooltip: { ...TOOLTIP, trigger: 'item', kind: 'bar' },
    xAxis: axis('share of ‖predicted‖', { min: 0 }),
    yAxis: {
      type: 'category',
      inverse: true,
      data: all.map(({ name }) => name),
      axisLabel: TEXT,
      axisLine: { lineStyle: { color: LINE } },
      axisTick: { show: false },
    },
    series: [
      {
        type: 'bar',
        barMaxWidth: 14,
        data: all.map(({ name, share }) => ({
          value: rounded(share),
          itemStyle: {
            color: armColor(COMPONENT_INDEX[name.split(':')[0]!] ?? 3),
            opacity: name.includes(':') ? 0.55 : 1,
          },
        })),
      },
    ],
  },
});

export const panelsOf = (snapshot: Snapshot): Panel[] => [
  ...(snapshot.step ? [scatter(snapshot.step), parts(snapshot.step)] : []),
  ...snapshot.kernels.map((kernel) => heatMap(kernel, snapshot.samples)),
  ...(snapshot.kernels.length > 0 ? [spectra(snapshot)] : []),
  ...(snapshot.cosines.length > 0 ? [cosines(snapshot)] : []),
];
