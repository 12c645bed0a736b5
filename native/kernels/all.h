// Every contract.
#pragma once

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/attention_decode.h"
#include "kernels/embedding.h"
#include "kernels/gemm.h"
#include "kernels/kv_append.h"
#include "kernels/linear_policy_gradient.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/rope.h"
#include "kernels/sample_token.h"
#include "kernels/sum_of_squares.h"
