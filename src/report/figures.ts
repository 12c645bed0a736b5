/**
 * Figures as ECharts options: plain data, so that the same option is drawn here to an SVG string (no DOM) and
 * again, live, in the browser. Colours are CSS variables with a light fallback: one drawing serves light and
 * dark, and stands alone as a file.
 */
import { BarChart, HeatmapChart, LineChart, ScatterChart } from 'echarts/charts';
import {
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  TitleComponent,
  TooltipComponent,
  VisualMapContinuousComponent,
} from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';

import type { Interval } from '../evaluation/estimators.js';
import type { Curve, Figure } from './types.js';

use([
  BarChart,
  HeatmapChart,
  LineChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  TitleComponent,
  TooltipComponent,
  VisualMapContinuousComponent,
  SVGRenderer,
]);

const PALETTE = [
  '#6b7280',
  '#2f6fde',
  '#d9631e',
  '#1f9d74',
  '#9054c9',
  '#c2962a',
  '#c83e6b',
  '#2a9bb5',
  '#7d8f2e',
  '#8a5a44',
  '#4b5bd6',
  '#d07ab8',
];
export const armColor = (index: number) =>
  `var(--arm-${index % PALETTE.length}, ${PALETTE[index % PALETTE.length]})`;
const color = (name: string, fallback: string) => `var(--${name}, ${fallback})`;
const MUTED = color('muted', '#6b6a66');
const SURFACE = color('surface', '#ffffff');
const SHADE = color('shade', '#d9631e');
export const INK = color('ink', '#1d1c1a');
export const LINE = color('line', '#e3e1dc');
/** Named in full, also for labels that could inherit it: ECharts measures text in the font it is told of. */
export const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, DejaVu Sans, sans-serif';
export const TEXT = { color: MUTED, fontFamily: FONT, fontSize: 12 };
/**
 * Of every grid: labels of any length lie inside, with room on the left for a reader's font that is wider
 * than the one they were measured in.
 */
export const FRAME = {
  left: 16,
  outerBounds: { left: 16, right: 2, top: 0, bottom: 0 },
  outerBoundsContain: 'axisLabel',
};

/** `kind` (read by client.ts) says how a number is put into words. */
export const TOOLTIP = {
  confine: true,
  backgroundColor: SURFACE,
  borderColor: LINE,
  textStyle: { ...TEXT, color: INK },
};

export type ChartOption = Readonly<Record<string, unknown>>;

/** A band is two stacked invisible lines, the upper one filled down to the lower. */
function band({ arm, index, points }: Curve): object[] {
  if (points.every((p) => p.deviation === 0)) return [];
  const edge = {
    type: 'line',
    stack: `band ${arm.id}`,
    stackStrategy: 'all',
    symbol: 'none',
    silent: true,
    lineStyle: { opacity: 0 },
    tooltip: { show: false },
  };
  return [
    { ...edge, data: points.map((p) => [p.x, p.mean - p.deviation]) },
    {
      ...edge,
      data: points.map((p) => [p.x, 2 * p.deviation]),
      areaStyle: { color: armColor(index), opacity: 0.16 },
    },
  ];
}

function line({ arm, index, points }: Curve, markers: boolean): object {
  return {
    type: 'line',
    name: arm.label,
    data: points.map((p) => [p.x, p.mean, p.deviation]),
    itemStyle: { color: armColor(index) },
    lineStyle: { color: armColor(index), width: 2 },
    showSymbol: markers,
    symbol: 'circle',
    symbolSize: 7,
    emphasis: { disabled: true },
  };
}

/** The classifier-only stage of classifier-first arms, shaded. */
function stage(curves: readonly Curve[]): object[] {
  const steps = Math.max(0, ...curves.map(({ arm }) => arm.classifierSteps ?? 0));
  if (steps === 0) return [];
  return [
    {
      type: 'line',
      data: [],
      silent: true,
      markArea: {
        silent: true,
        itemStyle: { color: SHADE, opacity: 0.08 },
        data: [[{ xAxis: 0, name: 'stage 1' }, { xAxis: steps }]],
        label: { ...TEXT, fontSize: 11, position: 'insideTopLeft', distance: 6 },
      },
    },
  ];
}

export function chartOption({ curves, markers }: Figure): ChartOption {
  const last = Math.max(...curves.flatMap(({ points }) => points.map((p) => p.x)));
  return {
    animation: false,
    grid: { ...FRAME, right: 14, top: 12, bottom: 40 },
    tooltip: {
      ...TOOLTIP,
      trigger: 'axis',
      kind: 'curve',
      x: 'step',
      axisPointer: { type: 'line', lineStyle: { color: MUTED, type: 'solid', width: 1 } },
    },
    xAxis: {
      type: 'value',
      min: 0,
      max: last,
      name: 'step',
      nameLocation: 'middle',
      nameGap: 22,
      nameTextStyle: TEXT,
      axisLabel: { ...TEXT, hideOverlap: true },
      splitLine: { show: false },
      axisLine: { lineStyle: { color: LINE } },
      axisTick: { show: false },
    },
    yAxis: {
      type: 'value',
      axisLabel: TEXT,
      axisLine: { show: false },
      axisTick: { show: false },
      splitNumber: 4,
      splitLine: { lineStyle: { color: LINE } },
    },
    series: [...stage(curves), ...curves.flatMap(band), ...curves.map((c) => line(c, markers))],
  };
}

const AXIS = {
  axisLabel: { ...TEXT, hideOverlap: true },
  axisLine: { lineStyle: { color: LINE } },
  axisTick: { show: false },
  splitLine: { show: false },
};

/** One row per label: a mean and its interval, and where zero is. */
export function intervalOption(
  rows: readonly { readonly label: string; readonly index: number; readonly interval: Interval }[],
  name: string,
): ChartOption {
  const known = rows.filter(({ interval: i }) => Number.isFinite(i.mean));
  const point = (value: number, label: string, symbolSize: number) => ({ value: [value, label], symbolSize });
  return {
    animation: false,
    grid: { ...FRAME, right: 20, top: 12, bottom: 40 },
    xAxis: {
      ...AXIS,
      type: 'value',
      name,
      nameLocation: 'middle',
      nameGap: 24,
      nameTextStyle: TEXT,
      splitLine: { show: true, lineStyle: { color: LINE } },
    },
    yAxis: { ...AXIS, type: 'category', inverse: true, data: known.map(({ label }) => label) },
    series: [
      ...known.map(({ label, index, interval: { low, mean, high } }) => ({
        type: 'line',
        symbol: 'circle',
        itemStyle: { color: armColor(index) },
        lineStyle: { color: armColor(index), width: 2 },
        data: Number.isFinite(low)
          ? [point(low, label, 1), point(mean, label, 8), point(high, label, 1)]
          : [point(mean, label, 8)],
      })),
      {
        type: 'line',
        data: [],
        silent: true,
        markLine: {
          silent: true,
          symbol: 'none',
          label: { show: false },
          lineStyle: { color: MUTED, type: 'dashed' },
          data: [{ xAxis: 0 }],
        },
      },
    ],
  };
}

/** For a drawing that leaves the page: with a title and the names of its curves. */
export const standalone = (option: ChartOption, title: string): ChartOption => ({
  ...option,
  backgroundColor: '#ffffff',
  legend: {
    top: 32,
    left: 8,
    itemWidth: 14,
    itemHeight: 8,
    itemGap: 16,
    textStyle: TEXT,
    data: (option['series'] as { name?: string }[]).flatMap(({ name }) => (name ? [name] : [])),
  },
  grid: { ...(option['grid'] as object), top: 84 },
  title: { text: title, left: 8, top: 6, textStyle: { ...TEXT, color: INK, fontSize: 14, fontWeight: 600 } },
});

export function renderSvg(option: ChartOption, width = 560, height = 240): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption(option);
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** `:root` declarations of the arms' colours. */
export const paletteCss = (lighter: boolean) =>
  PALETTE.map((hex, i) => `--arm-${i}: ${lighter ? `color-mix(in oklab, ${hex} 74%, white)` : hex};`).join(
    ' ',
  );
