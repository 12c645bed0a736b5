#include "analysis/explain.h"

#include <cmath>
#include <functional>

#include "analysis/numbers.h"
#include "core/error.h"
#include "runtime/job.h"

namespace hf {
namespace {

// While it lives, the progress that is reported belongs to part `index` of `count` equal parts of the job.
class Part {
 public:
  Part(Run& run, int64_t index, int64_t count) : control_(run.control) {
    if (!control_) return;
    whole_ = control_->on_progress;
    if (!whole_) return;
    control_->on_progress = [whole = whole_, index, count](int64_t done, int64_t total) {
      const double share = total > 0 ? double(done) / double(total) : 1;
      whole(int64_t(kUnits * (double(index) + share)), kUnits * count);
    };
  }
  ~Part() {
    if (control_) control_->on_progress = whole_;
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

 private:
  static constexpr int64_t kUnits = 1000;
  JobControl* const control_;
  std::function<void(int64_t, int64_t)> whole_;
};

// The parts of the work, in order.
enum Phase { kMakeStep, kPredict, kPredictCross, kMeasure, kInfluences, kPhases };

// A flat step as a tangent where the run's tensors live.
View tangent_of(const std::vector<double>& step, Run& run) {
  const View tangent = arena_tensor(run, run.real(), int64_t(step.size()));
  write_doubles(step.data(), tangent, run);
  return tangent;
}

// By which part of the gradient component a parameter is reported, from the input up: embeddings, layers,
// final norm. The classifier belongs to none: what it does is the representation component.
int layer_group(const ParameterSpec& parameter, int layers) {
  if (parameter.role == Role::kClassifier) return -1;
  if (parameter.layer >= 0) return parameter.layer + 1;
  const bool embeds = parameter.role == Role::kEmbedding || parameter.role == Role::kPosition;
  return embeds ? 0 : layers + 1;
}

Direction direction_along(const Model& model, const View& tangent, bool layers) {
  Direction direction{.tangent = tangent, .group_of = {}, .groups = layers ? model.spec().layers + 2 : 1};
  for (const Parameter& parameter : model.parameters()) {
    const int group = layer_group(parameter.spec, model.spec().layers);
    direction.group_of.push_back(layers || group < 0 ? group : 0);
  }
  return direction;
}

// The first-order change of the logits, (n, V): representation, gradient by group, cross (empty: none).
struct Prediction {
  LogitTangents own;
  std::vector<double> cross;
};

LogitTangents predict(const Model& model, const Prefixes& probes, const std::vector<double>& step,
                      bool layers, Run& run) {
  const Part part(run, kPredict, kPhases);
  const Scratch scratch(run);
  const Direction direction = direction_along(model, tangent_of(step, run), layers);
  return logit_tangents(model, probes, &direction, run);
}

// ΔW_e φ + W (∂φ/∂W_e) ΔW_c: the step with the moves of the two uses exchanged, and nothing else moving.
std::vector<double> predict_cross(const Model& twin, const Prefixes& probes,
                                  const std::vector<double>& by_use, Run& run) {
  const Part part(run, kPredictCross, kPhases);
  const Scratch scratch(run);
  const Parameter& embedding = twin.parameters()[twin.embedding()];
  const Parameter& classifier = twin.parameters()[twin.classifier()];
  const View tangent = arena_tensor(run, run.real(), twin.size());
  set_zero(run, tangent);
  write_doubles(by_use.data() + classifier.offset, twin.view_in(tangent, twin.embedding()), run);
  write_doubles(by_use.data() + embedding.offset, twin.view_in(tangent, twin.classifier()), run);
  Direction direction{
      .tangent = tangent,
      .group_of = std::vector<int>(twin.parameters().size(), -1),
      .groups = 1,
  };
  direction.group_of[twin.embedding()] = 0;
  LogitTangents exchanged = logit_tangents(twin, probes, &direction, run);
  std::vector<double> cross = std::move(exchanged.direct);
  for_pieces(run, int64_t(cross.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      cross[i] += exchanged.indirect.front()[i];
  });
  return cross;
}

std::vector<double> logits_after(Model& scratch, const Step& step, const Prefixes& probes, Run& run) {
  const Part part(run, kMeasure, kPhases);
  move(scratch, step, run);
  return logit_tangents(scratch, probes, nullptr, run).logits;
}

Step make_step(const Model& model, const std::shared_ptr<Model>& scratch, Model* twin,
               const AdvantageBatch& batch, const ExplainOptions& options, Run& run) {
  const Part part(run, kMakeStep, kPhases);
  switch (options.update) {
    case Update::kGradient:
      return ascent_step(model, twin ? *twin : *scratch, batch, options.learning_rate, run);
    case Update::kAdam: return adam_step(model, scratch, batch, options.optimizer.get(), options.adam, run);
    case Update::kGiven: break;
  }
  return {.total = options.given, .by_use = {}};
}

void add(Vocabulary& to, const Vocabulary& values) {
  for (size_t v = 0; v < to.size(); ++v)
    to[v] += values[v];
}

// log π before and after, and everything about one probe that follows from it and the predicted logits.
class Probe {
 public:
  Probe(const double* before, const double* after, int64_t V)
      : before_(log_softmax(before, V)), after_(log_softmax(after, V)), probabilities_(before_.size()) {
    for (size_t v = 0; v < before_.size(); ++v)
      probabilities_[v] = std::exp(before_[v]);
  }

  ProbeExplanation explain(const Prediction& prediction, int64_t probe, bool layers) const {
    const size_t V = before_.size();
    const size_t at = size_t(probe) * V;
    ProbeExplanation e;
    e.representation = centred(prediction.own.direct.data() + at, probabilities_);
    e.gradient.assign(V, 0);
    for (const std::vector<double>& group : prediction.own.indirect) {
      Vocabulary change = centred(group.data() + at, probabilities_);
      add(e.gradient, change);
      if (layers) e.layers.push_back(std::move(change));
    }
    e.cross =
        prediction.cross.empty() ? Vocabulary(V) : centred(prediction.cross.data() + at, probabilities_);
    e.predicted = e.representation;
    add(e.predicted, e.gradient);
    add(e.predicted, e.cross);
    e.measured = after_;
    for (size_t v = 0; v < V; ++v)
      e.measured[v] -= before_[v];
    return e;
  }

  int64_t likeliest() const { return largest(probabilities_); }

  // The numbers that follow from Δ log π: each is linear in it, to first order.
  void summarise(ProbeExplanation& e) const {
    e.logp = change(e, before_[e.target], after_[e.target],
                    [&](const Vocabulary& delta) { return delta[e.target]; });
    const int64_t top = likeliest();
    e.max_prob = change(e, probabilities_[top], std::exp(after_[largest(after_)]),
                        [&](const Vocabulary& delta) { return probabilities_[top] * delta[top]; });
    const Vocabulary slope = entropy_slope();
    e.entropy = change(e, entropy(before_), entropy(after_),
                       [&](const Vocabulary& delta) { return -dot(delta, slope); });
    e.accuracy = Match(e.predicted, e.measured).accuracy();
  }

 private:
  template <class FirstOrder>
  static Change change(const ProbeExplanation& e, double before, double after,
                       const FirstOrder& first_order) {
    return {
        .before = before,
        .representation = first_order(e.representation),
        .gradient = first_order(e.gradient),
        .cross = first_order(e.cross),
        .predicted = first_order(e.predicted),
        .measured = after - before,
    };
  }

  // π log π: dH = −⟨slope, d log π⟩. An impossible token (log π = −∞) has no part in it.
  Vocabulary entropy_slope() const {
    Vocabulary slope(before_.size());
    for (size_t v = 0; v < slope.size(); ++v)
      slope[v] = probabilities_[v] == 0 ? 0 : probabilities_[v] * before_[v];
    return slope;
  }

  const Vocabulary before_, after_;
  Vocabulary probabilities_;
};

Change mean(const std::vector<ProbeExplanation>& probes, Change ProbeExplanation::* which) {
  Change sum;
  for (double Change::* part : {&Change::before, &Change::representation, &Change::gradient, &Change::cross,
                                &Change::predicted, &Change::measured}) {
    for (const ProbeExplanation& probe : probes)
      sum.*part += (probe.*which).*part;
    sum.*part /= double(probes.size());
  }
  return sum;
}

// Fills in what is told of every probe. Probes are independent of each other: each is one task.
void explain_probes(Explanation& explanation, const Prediction& prediction, const std::vector<double>& after,
                    const ExplainOptions& options, int64_t V, Run& run) {
  std::vector<Match> matches(explanation.probes.size());
  parallel_for(run, int64_t(matches.size()), [&](int64_t p) {
    const Probe probe(prediction.own.logits.data() + p * V, after.data() + p * V, V);
    ProbeExplanation& explained = explanation.probes[p];
    explained = probe.explain(prediction, p, options.layers);
    explained.target = options.targets.empty() ? probe.likeliest() : options.targets[p];
    probe.summarise(explained);
    matches[p] = Match(explained.predicted, explained.measured);
  });
  Match all;
  for (const Match& match : matches)
    all.add(match);
  explanation.accuracy = all.accuracy();
  explanation.max_prob = mean(explanation.probes, &ProbeExplanation::max_prob);
  explanation.entropy = mean(explanation.probes, &ProbeExplanation::entropy);
}

Influences explain_influences(const Model& model, const AdvantageBatch& batch, const Prefixes& prefixes,
                              const Explanation& explanation, const ExplainOptions& options, Run& run) {
  const Part part(run, kInfluences, kPhases);
  std::vector<int64_t> targets;
  for (const ProbeExplanation& probe : explanation.probes)
    targets.push_back(probe.target);
  std::vector<double> factors;
  for (double advantage : batch.advantages)
    factors.push_back(options.learning_rate * advantage / double(batch.advantages.size()));
  return influences(model, prefixes, targets, *options.influences, factors, run);
}

}  // namespace

Explanation explain_step(const std::shared_ptr<Model>& model, const AdvantageBatch& batch,
                         const Prefixes& probes, const ExplainOptions& options, Run& run) {
  const bool is_gradient = options.update == Update::kGradient;
  const std::shared_ptr<Model> scratch = model->clone();
  std::shared_ptr<Model> twin = model->tied() && is_gradient ? untied_twin(*model, run) : nullptr;
  const Step step = make_step(*model, scratch, twin.get(), batch, options, run);

  Prediction prediction;
  if (twin) {
    prediction.own = predict(*twin, probes, step.by_use, options.layers, run);
    prediction.cross = predict_cross(*twin, probes, step.by_use, run);
    twin.reset();
  } else {
    prediction.own = predict(*model, probes, step.total, options.layers, run);
  }
  const std::vector<double> after = logits_after(*scratch, step, probes, run);

  Explanation explanation;
  explanation.probes.resize(size_t(probes.count()));
  explain_probes(explanation, prediction, after, options, model->spec().vocab_size, run);
  explanation.cross_defined = !model->tied() || is_gradient;
  explanation.step_norm = step.norm(run);
  if (options.influences)
    explanation.influences = explain_influences(*model, batch, probes, explanation, options, run);
  if (options.apply) {
    checkpoint(run);
    apply(*model, *scratch, step, run);
  }
  const Part last(run, kPhases - 1, kPhases);
  report_progress(run, 1, 1);
  return explanation;
}

}  // namespace hf
